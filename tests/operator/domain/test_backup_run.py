"""What a RopBackup tells of its archive, and what `ropctl plan` says before."""

from dataclasses import replace
from typing import Any

import pytest

from rop_operator.api.facts import BackupFacts, BackupRunFacts, Document, Ref
from rop_operator.domain.backup_run import back_up, preview
from rop_operator.domain.describe import describe
from rop_operator.domain.operation import Situation, decide, run_status


def situation(site: Any, seen: BackupRunFacts | None = None, **spec: Any) -> Situation:
    document = Document(Ref("RopBackup", "video", "now"), "u-7", 1, {"serverRef": {"name": "home"}, **spec}, {})
    facts = site.facts.model_copy(update={"backup": BackupFacts(configured=True)})
    return Situation(document, site.now, site.document, facts, seen=seen)


def run(**members: Any) -> BackupRunFacts:
    stored = {"name": "disk", "state": "Stored", "sha256": "ab" * 32}
    base = {"id": "u-7", "state": "Complete", "archive": "rop-1.rop", "generation": 3, "targets": [stored]}
    return BackupRunFacts.model_validate({**base, "finishedAt": "2026-05-04T12:00:00Z", **members})


def test_the_status_has_name_digest_and_time_of_verification(site: Any) -> None:
    now = situation(site, run())
    status = run_status(now, decide(now, back_up))
    assert status["observed"] == {
        "archive": "rop-1.rop",
        "generation": 3,
        "verifiedAt": "2026-05-04T12:00:00Z",
        "targets": [{"name": "disk", "state": "Stored", "sha256": "ab" * 32}],
    }
    assert status["progress"]["summary"] == "1/1"


def test_one_of_two_targets_is_a_failure_that_names_it(site: Any) -> None:
    bad = {"name": "attic", "state": "Failed", "message": "ReadBackMismatch: not as written"}
    step = decide(situation(site, run(state="Failed", targets=[*run().model_dump()["targets"], bad])), back_up)
    assert step is not None
    assert (step.end, step.reason, step.done, step.total) == ("Failed", "ReadBackMismatch", 1, 2)
    assert "attic" in step.message
    assert "verifiedAt" not in step.record


def test_a_server_without_backups_ends_it(site: Any) -> None:
    now = situation(site)
    step = decide(replace(now, server=site.facts), back_up)
    assert step is not None
    assert (step.end, step.reason) == ("Failed", "NotSupported")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, "make an archive of the keys on every target"),
        ({"targetNames": ["disk"], "retain": "Forever"}, "make an archive of the keys on disk, kept for ever"),
    ],
)
def test_the_plan_says_where(site: Any, spec: dict[str, Any], told: str) -> None:
    (action,) = preview(situation(site, **spec)).actions
    assert describe(action) == told


def test_the_plan_warns_when_there_is_no_policy(site: Any) -> None:
    assert [finding.reason for finding in preview(situation(site)).findings] == ["PolicyUnknown"]
    site.spec(backup={"recipients": [], "targets": []})
    assert preview(situation(site)).findings == ()
