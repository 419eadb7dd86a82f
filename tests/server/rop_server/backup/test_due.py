"""When an archive is due: pure decisions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rop_data.archive.critical import Live
from rop_data.archive.manifest import Recipient
from rop_data.archive.policy import BackupPolicy, Place, Schedule
from rop_server.backup.due import CHANGE, MISSING, SCHEDULE, Change, Pace, clock_implausible, due, retry_after
from rop_server.backup.record import MAX_ARCHIVES, Archive, Record, TargetRecord

LIVE = Live(1, "as-it-is")
POLICY = BackupPolicy((Recipient("alice", "All", "age1"),), (Place("shelf", "/shelf"),))


def at(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def stored(moment: float, critical: str | None = "as-it-is", generation: int = 1) -> Archive:
    return Archive(f"a-{moment}", generation, moment, 10, "ByPolicy", moment, critical)


def target(*archives: Archive) -> TargetRecord:
    return TargetRecord("/shelf", list(archives))


def test_an_empty_target_is_due_at_once() -> None:
    assert due(replace(POLICY, on_change=False), target(), LIVE, False, 0.0) == MISSING


def test_a_change_is_due_once_it_rests() -> None:
    known = target(stored(100.0, "as-it-was"))
    assert due(POLICY, known, LIVE, False, 200.0) is None
    assert due(POLICY, known, LIVE, True, 200.0) == CHANGE
    assert due(replace(POLICY, on_change=False), known, LIVE, True, 200.0) is None
    assert due(POLICY, target(stored(100.0)), LIVE, True, 200.0) is None


def test_rest_and_patience() -> None:
    pace = Pace(1.0, 3.0, 20.0)
    assert not Change("x", 0.0, 0.0).settled(pace, 2.9)
    assert Change("x", 0.0, 0.0).settled(pace, 3.0)
    assert Change("x", 0.0, 19.9).settled(pace, 20.0)


@pytest.mark.parametrize(
    ("zone", "made", "now", "expected"),
    [
        ("Europe/Berlin", "2026-07-01T02:59:00+02:00", "2026-07-01T02:59:59+02:00", None),
        ("Europe/Berlin", "2026-07-01T02:59:00+02:00", "2026-07-01T03:00:00+02:00", SCHEDULE),
        ("Europe/Berlin", "2026-07-01T03:00:00+02:00", "2026-07-02T02:59:59+02:00", None),
        # A server that was off makes up for the moment it missed.
        ("Europe/Berlin", "2026-07-01T03:00:00+02:00", "2026-07-09T12:00:00+02:00", SCHEDULE),
        # 3:00 exists once on both nights when the clocks change.
        ("Europe/Berlin", "2026-03-28T03:00:00+01:00", "2026-03-29T03:00:00+02:00", SCHEDULE),
        ("Europe/Berlin", "2026-10-24T03:00:00+02:00", "2026-10-25T02:30:00+02:00", None),
        ("America/New_York", "2026-07-01T03:00:00+02:00", "2026-07-01T08:59:59+02:00", None),
        ("America/New_York", "2026-07-01T03:00:00+02:00", "2026-07-01T09:00:00+02:00", SCHEDULE),
    ],
)
def test_the_schedule(zone: str, made: str, now: str, expected: str | None) -> None:
    policy = replace(POLICY, schedule=Schedule("0 3 * * *", zone))
    assert due(policy, target(stored(at(made))), LIVE, True, at(now)) == expected


def test_failures_are_repeated_ever_slower() -> None:
    known = TargetRecord("/shelf", [], attempt_at=1000.0, failures=2)
    assert due(POLICY, known, LIVE, True, 1029.0) is None
    assert due(POLICY, known, LIVE, True, 1030.0) == MISSING
    # A clock that was set back holds nothing up.
    assert due(POLICY, known, LIVE, True, 900.0) == MISSING
    waits = [retry_after(count) for count in range(20)]
    assert waits == sorted(waits)
    assert waits[-1] == 600.0


def test_a_clock_behind_the_last_archive() -> None:
    record = Record(latest=1_000_000.0)
    assert not clock_implausible(record, 1_000_000.0 - 299)
    assert clock_implausible(record, 1_000_000.0 - 301)


def test_the_record_forgets_old_archives_but_the_last_of_each_generation() -> None:
    known = target()
    known.add(stored(1.0, generation=1))
    for moment in range(2, 200):
        known.add(stored(float(moment), generation=2))
    assert len(known.archives) == MAX_ARCHIVES + 1
    assert (known.archives[0].generation, known.archives[-1].created) == (1, 199.0)
    assert known.covers(1)
    assert not known.covers(None)
    known.add(stored(199.0, generation=2))
    assert len(known.archives) == MAX_ARCHIVES + 1
