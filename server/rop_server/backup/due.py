"""When an archive is due on a target: pure decisions, time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rop_data.archive.critical import Live
from rop_data.archive.policy import BackupPolicy
from rop_server.backup.record import Record, TargetRecord

_RETRY_S = (0.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
CLOCK_TOLERANCE_S = 300.0

MISSING, CHANGE, SCHEDULE = "Missing", "Change", "Schedule"


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. `poll`: between two looks. A change is archived once nothing changed for `quiet`, and after
    `patience` in any case.
    """

    poll: float = 5.0
    quiet: float = 3.0
    patience: float = 20.0


@dataclass(frozen=True, slots=True)
class Change:
    """How long the directory differs from the last look: `value` seen first at `first`, last changed at `last`
    (monotonic seconds).
    """

    value: str
    first: float
    last: float

    def settled(self, pace: Pace, now: float) -> bool:
        """Whether it is time to archive it."""
        return now - self.last >= pace.quiet or now - self.first >= pace.patience


def clock_implausible(record: Record, now: float) -> bool:
    """True when the clock is behind the last archive: nothing is signed or deleted then."""
    return now < record.latest - CLOCK_TOLERANCE_S


def retry_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return _RETRY_S[min(failures, len(_RETRY_S) - 1)]


def due(policy: BackupPolicy, target: TargetRecord, live: Live, settled: bool, now: float) -> str | None:
    """Why an archive is due on a target: `Missing`, `Change` or `Schedule`; None: it is not."""
    if target.attempt_at is not None and 0 <= now - target.attempt_at < retry_after(target.failures):
        return None
    last = target.last
    if last is None:
        return MISSING
    if policy.on_change and settled and last.critical != live.critical:
        return CHANGE
    if policy.schedule is not None and _slot_passed(policy, last.created, now):
        return SCHEDULE
    return None


def _slot_passed(policy: BackupPolicy, created: float, now: float) -> bool:
    assert policy.schedule is not None
    return policy.schedule.after(datetime.fromtimestamp(created, UTC)).timestamp() <= now
