"""Every vector of tests/vectors/vectors.json against the codecs, each as a test of its own."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
DOCUMENT = json.loads((HERE.parents[1] / "vectors" / "vectors.json").read_text())
VECTORS: dict[str, dict[str, Any]] = {each["name"]: each for each in DOCUMENT["vectors"]}
Check = Callable[[dict[str, Any], dict[str, Any]], None]


def _checks() -> dict[str, Check]:
    """The checks of all files beside this one, by vector name."""
    found: dict[str, Check] = {}
    for path in sorted(HERE.glob("vectors_*.py")):
        spec = importlib.util.spec_from_file_location(f"rop_wire_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        twice = found.keys() & module.CHECKS.keys()
        assert not twice, f"two checks for {twice}"
        found |= module.CHECKS
    return found


CHECKS = _checks()


def test_every_vector_has_a_check() -> None:
    assert DOCUMENT["count"] == len(DOCUMENT["vectors"]) == len(VECTORS) == 92
    assert CHECKS.keys() == VECTORS.keys()


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str) -> None:
    assert name in CHECKS, f"no check for {name}"
    vector = VECTORS[name]
    CHECKS[name](vector["inputs"], vector["expected"])
