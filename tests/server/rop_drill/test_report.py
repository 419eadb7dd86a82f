"""Reports: whose signature counts, what a page shows, how many are kept."""

from pathlib import Path
from typing import Any

import pytest

from rop_data.archive.target import DirectoryTarget
from rop_drill import report
from rop_drill.perform import perform
from rop_drill.source import newest


@pytest.fixture
def signed(site: Any, tmp_path: Path) -> dict[str, Any]:
    """A red report."""
    target = DirectoryTarget(tmp_path / "<not mounted>")
    inputs = site.inputs(fetch=lambda: newest(target, site.inputs().expected))
    return report.sign(perform(inputs, 60).document, site.known)


def test_the_site_vouches_for_the_signer(site: Any, signed: Any) -> None:
    assert report.check(signed, site.known.site_signer)["reason"] == "TargetUnreachable"
    with pytest.raises(report.ReportError, match="does not vouch"):
        report.check(signed, "0" * 64)


@pytest.mark.parametrize("member", ["result", "rtoSeconds", "archive", "started"])
def test_a_changed_report_does_not_hold(site: Any, signed: Any, member: str) -> None:
    changed = {**signed, "report": signed["report"] | {member: "Passed"}}
    with pytest.raises(report.ReportError, match="does not hold"):
        report.check(changed, site.known.site_signer)


@pytest.mark.parametrize("junk", [None, [], {}, {"report": {}, "signature": {}}, {"report": 1, "signature": 2}])
def test_junk_is_no_report(site: Any, junk: Any) -> None:
    with pytest.raises(report.ReportError, match="not a report"):
        report.check(junk, site.known.site_signer)


def test_a_page_shows_what_happened_and_runs_nothing(signed: Any) -> None:
    page = report.page(signed, "drill.json")
    assert "TargetUnreachable" in page
    assert "&lt;not mounted&gt;" in page
    assert "<not mounted>" not in page
    assert "http" not in page.partition("<body>")[2]


def test_the_oldest_reports_go(signed: Any, tmp_path: Path) -> None:
    history = report.History(tmp_path / "reports", 3)
    for day in range(1, 6):
        document = {**signed["report"], "started": f"2026-11-0{day}T03:00:00+00:00", "id": f"{day}" * 32}
        history.add({**signed, "report": document})
    kept = sorted(path.name for path in history.folder.iterdir())
    assert kept == [
        f"drill-2026110{day}T030000Z-{str(day) * 8}.{ending}" for day in (3, 4, 5) for ending in ("html", "json")
    ]
