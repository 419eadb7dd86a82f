"""The wake budget: how often a sleeping camera was woken today, and whether it may be woken once more.

A day is one of UTC. Wakes are counted by the server, whoever caused them; the status remembers the count of the
day of the newest one and is written only when there was another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rop_operator.api.camera import WakeBudget
from rop_operator.api.facts import DeviceFacts


@dataclass(frozen=True, slots=True)
class Ledger:
    """Wakes of one day. `day` is `2026-05-04`; `total` is the server's count when it was last looked at."""

    day: str
    used: int
    total: int

    def on(self, now: datetime) -> int:
        """Wakes of today."""
        return self.used if self.day == _day(now) else 0

    def to_status(self) -> dict[str, Any]:
        """As it is kept in `status.wakeBudget`."""
        return {"day": self.day, "used": self.used}


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d")


def ledger(status: Mapping[str, Any], device: DeviceFacts | None, now: datetime) -> Ledger:
    """The count with what happened since the status was written. Wakes before this camera was first looked at are
    of no day; those of a time when nobody looked count for the day of the newest one.
    """
    kept = status.get("wakeBudget")
    known = kept if isinstance(kept, Mapping) else {}
    before = status.get("wakes", 0) if "observed" in status else None
    day, used = str(known.get("day", _day(now))), int(known.get("used", 0))
    if device is None:
        return Ledger(day, used, before or 0)
    news = max(0, device.wakes - before) if isinstance(before, int) else 0
    if not news:
        return Ledger(day, used, device.wakes)
    newest = _day(device.last_wake or now)
    return Ledger(newest, news + (used if newest == day else 0), device.wakes)


@dataclass(frozen=True, slots=True)
class Allowance:
    """Whether one more wake is allowed now; else why not, and in how many seconds (None: not by waiting)."""

    allowed: bool
    reason: str = ""
    message: str = ""
    wait: float | None = None


def allowance(budget: WakeBudget | None, used: Ledger, now: datetime) -> Allowance:
    """The verdict of the budget for one more wake."""
    if budget is None:
        return Allowance(True)
    reserve = budget.alarm_reserve if budget.alarm_reserve is not None else min(1, max(0, budget.per_day - 1))
    limit = budget.per_day - reserve
    if limit <= 0:
        message = "the wake budget leaves no wakes for settings; they are written when the camera wakes by itself"
        return Allowance(False, "WaitingForWake", message)
    today = used.on(now)
    if today < limit:
        return Allowance(True)
    kept = f", {reserve} kept for alarms" if reserve else ""
    message = f"{today} wakes today of a budget of {budget.per_day}{kept}; it goes on after midnight UTC"
    return Allowance(False, "WakeBudgetSpent", message, until_midnight(now))


def until_midnight(now: datetime) -> float:
    """Seconds until the next day of UTC, and one."""
    today = now.astimezone(UTC)
    tomorrow = (today + timedelta(days=1)).replace(hour=0, minute=0, second=1, microsecond=0)
    return (tomorrow - today).total_seconds()
