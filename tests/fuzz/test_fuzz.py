"""A short run of `make fuzz`: the corpus and mutations of it through every target, and the runner itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

CASES = 1500


def test_corpus_and_mutations(target_name: str, target: Any, mutate: Any, tmp_path: Path) -> None:
    corpus = list((mutate.CORPUS / target_name).iterdir())
    assert corpus
    mutate.run(target, target_name, max(CASES, len(corpus)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_finding_is_kept(mutate: Any, tmp_path: Path) -> None:
    def broken(data: bytes) -> None:
        assert len(data) < 60

    with pytest.raises(AssertionError):
        mutate.run(broken, "xml_document", 500, tmp_path)
    (kept,) = tmp_path.iterdir()
    assert len(kept.read_bytes()) >= 60


@pytest.mark.parametrize("guided", [True, False])
def test_runner_counts_cases(guided: bool, fuzz_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_run, "GUIDED", guided and fuzz_run.GUIDED)
    monkeypatch.setattr(fuzz_run, "OUT", tmp_path)
    result = fuzz_run.fuzz("typed_messages", 3000, tmp_path / "findings")
    assert result.ok, result.output
    assert result.cases >= 3000


def test_every_target_has_a_share(fuzz_run: Any, mutate: Any) -> None:
    names = sorted(each.name for each in mutate.CORPUS.iterdir())
    shares = fuzz_run.shares(names, 10_000_000)
    assert set(shares) == set(names)
    assert sum(shares.values()) >= 10_000_000
    assert set(names) >= fuzz_run.SLOW
