"""The state of delivery: a lane for each device and sink, and when a sink may be tried. Time is an argument."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Protocol

from rop_server.alarms.bounds import Backoff

PARALLEL = 32
# So many devices failing one after the other mean that the sink is down, not that one alarm is bad.
DOWN_AFTER = 5


class Timer(Protocol):
    """Something that will happen."""

    def cancel(self) -> None:
        """It will not."""
        ...


@dataclass(slots=True, eq=False)
class Lane:
    """Alarms of one device to one sink, delivered one at a time and in order."""

    uid: str
    waiting: int = 0
    failures: int = 0
    # Waits for its turn, for its next attempt, or for an answer: then it must not be queued again.
    engaged: bool = False
    timer: Timer | None = None


@dataclass(slots=True, eq=False)
class SinkState:
    """What goes on at one sink. Lanes take turns, so a device with many alarms delays nobody."""

    name: str
    lanes: dict[str, Lane] = field(default_factory=dict)
    ready: deque[Lane] = field(default_factory=deque)
    active: int = 0
    waiting: int = 0
    failed: set[str] = field(default_factory=set)
    failures: int = 0
    open_at: float = 0.0
    timer: Timer | None = None
    told: str | None = None
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def down(self) -> bool:
        """True when only single attempts are made until one succeeds."""
        return len(self.failed) >= DOWN_AFTER

    def lane(self, uid: str) -> Lane:
        """The lane of a device."""
        return self.lanes.setdefault(uid, Lane(uid))

    def count(self, lane: Lane, change: int) -> None:
        """So many alarms more, or less, wait in a lane."""
        lane.waiting += change
        self.waiting += change

    def may_start(self, now: float) -> bool:
        """Whether another attempt may begin."""
        return bool(self.ready) and now >= self.open_at and self.active < (1 if self.down else PARALLEL)

    def succeeded(self) -> None:
        """An answer that settles an alarm: the sink works."""
        self.failed.clear()
        self.failures = 0
        self.open_at = 0.0

    def failed_once(self, uid: str, now: float, backoff: Backoff, retry_after: float | None) -> None:
        """An attempt failed. The whole sink waits when it asked for it or is down."""
        self.failed.add(uid)
        if self.down:
            self.failures += 1
            self.open_at = max(self.open_at, now + backoff.delay(self.failures))
        if retry_after is not None:
            self.open_at = max(self.open_at, now + retry_after)

    def cancel(self) -> None:
        """Stop every timer."""
        for timer in (self.timer, *(lane.timer for lane in self.lanes.values())):
            if timer is not None:
                timer.cancel()
