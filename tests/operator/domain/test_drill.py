"""Which step of a recovery drill comes next, and what a RopServer tells of its drills."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rop_operator.api.facts import (
    ArchiveFacts,
    BackupFacts,
    BackupRunFacts,
    Document,
    DrillCamera,
    DrillReport,
    DrillRun,
    Ref,
    TargetFacts,
)
from rop_operator.domain.drill import Seen, drill, drill_condition
from rop_operator.domain.operation import Situation, Step, decide
from rop_operator.domain.plan import EnrolDrillCamera, MakeArchive, StartDrill, StopDrill

KEYS = "root:1"
RECIPIENT = {"name": "a", "key": "age1" + "q" * 58}
BACKUP = {"recipients": [RECIPIENT], "targets": [{"name": "disk", "directory": {"path": "/mnt/backup"}}]}
POLICY = {"identityRef": {"name": "drill", "key": "identity"}, "maxArchiveAge": "25h"}


def step(site: Any, seen: Seen | None, facts: Any = ..., **spec: Any) -> Step:
    site.spec(backup=BACKUP, drill=POLICY)
    document = Document(
        Ref("RecoveryDrill", "video", "now"), "u-7", 1, {"serverRef": {"name": "home"}, **spec}, {}
    )
    known = site.facts if facts is ... else facts
    found = decide(Situation(document, site.now, site.document, known, seen=seen), drill, alone=True)
    assert found is not None
    return found


def backed(site: Any, minutes: float) -> Any:
    """Facts of a server that stored an archive so long ago."""
    stored = ArchiveFacts(name="a.rop", stored_at=site.now - timedelta(minutes=minutes))
    target = TargetFacts(name="disk", covered=True, stored=stored)
    return site.facts.model_copy(update={"backup": BackupFacts(configured=True, targets=(target,))})


def camera(site: Any, minutes: float, **more: Any) -> DrillCamera:
    return DrillCamera(site.now - timedelta(minutes=minutes), KEYS, **more)


def test_first_a_drill_camera_then_an_archive_that_knows_it_then_the_drill(site: Any) -> None:
    assert step(site, Seen(keys=KEYS)).actions == (EnrolDrillCamera(KEYS),)
    fresh = camera(site, 0)
    assert step(site, Seen(camera=fresh, keys=KEYS), backed(site, 5)).actions == (
        MakeArchive("drill-u-7", ("disk",)),
    )
    made = BackupRunFacts(id="drill-u-7", state="Complete")
    start = StartDrill("u-7", "disk", 600.0, 90_000.0)
    assert step(site, Seen(camera=fresh, archive=made, keys=KEYS), backed(site, 5)).actions == (start,)
    assert step(site, Seen(camera=camera(site, 60), keys=KEYS), backed(site, 5)).actions == (start,)
    assert step(site, Seen(camera=camera(site, 1, used=True), keys=KEYS), backed(site, 5)).actions == (start,)


def test_other_keys_need_another_camera_but_a_dead_server_does_not(site: Any) -> None:
    known = camera(site, 60)
    assert step(site, Seen(camera=known, keys="root:2")).actions == (EnrolDrillCamera("root:2", replace=True),)
    (start,) = step(site, Seen(camera=known, keys=None), None).actions
    assert isinstance(start, StartDrill)


def test_what_the_document_says_goes_before_what_the_server_says(site: Any) -> None:
    seen = Seen(camera=camera(site, 1, used=True), keys=KEYS)
    (start,) = step(site, seen, timeout="2m", maxArchiveAge="1h").actions
    assert start == StartDrill("u-7", "disk", 120.0, 3600.0)


@pytest.mark.parametrize(
    ("spec", "reason"), [({"targetName": "tape"}, "TargetUnknown"), ({"abort": True}, "Aborted")]
)
def test_nothing_begins_without_its_target_or_once_it_was_given_up(site: Any, spec: Any, reason: str) -> None:
    found = step(site, Seen(keys=KEYS), **spec)
    assert (found.reason, found.actions) == (reason, ())


def test_a_drill_that_runs_is_stopped_by_abort(site: Any) -> None:
    running = Seen(run=DrillRun("Running", "Streaming"))
    assert step(site, running).message == "Streaming"
    assert step(site, running, abort=True).actions == (StopDrill("u-7"),)
    assert step(site, Seen(run=DrillRun("Ended")), abort=True).reason == "Aborted"


@pytest.mark.parametrize(
    ("run", "end", "reason"),
    [
        (DrillRun("Ended", report=DrillReport(result="Passed", archive="a.rop")), "Complete", "Passed"),
        (DrillRun("Ended", report=DrillReport(result="Failed", reason="StreamFailed")), "Failed", "StreamFailed"),
        (DrillRun("Ended"), "Failed", "Interrupted"),
        (DrillRun("Ended", message="the signature of its report does not hold"), "Failed", "Interrupted"),
    ],
)
def test_only_a_signed_report_that_says_so_is_a_pass(site: Any, run: DrillRun, end: str, reason: str) -> None:
    found = step(site, Seen(run=run))
    assert (found.end, found.reason) == (end, reason)


def ended(name: str, at: str, end: str, reason: str) -> Document:
    condition = {"type": end, "status": "True", "reason": reason, "message": "said"}
    status = {"completedAt": at, "conditions": [condition]}
    spec = {"serverRef": {"name": "home"}}
    return Document(Ref("RecoveryDrill", "video", name), name, 1, spec, status)


def test_the_newest_verdict_counts_for_the_server(site: Any) -> None:
    site.spec(backup=BACKUP, drill=POLICY)
    told = drill_condition(site.snapshot)
    assert told is not None
    assert (told.status, told.reason) == ("Unknown", "NeverDrilled")
    green = ended("a", "2026-05-01T00:00:00Z", "Complete", "Passed")
    red = ended("b", "2026-05-02T00:00:00Z", "Failed", "RenewalRefused")
    given_up = ended("c", "2026-05-03T00:00:00Z", "Failed", "Aborted")
    told = drill_condition(replace(site.snapshot, drills=(green, red, given_up)))
    assert told is not None
    assert (told.status, told.reason, told.message) == ("False", "RenewalRefused", "b: said")
