"""Bounds that keep one device from delaying the others or filling the disk. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import random

PER_DEVICE = 1000
IN_ALL = 50_000
RATE = 10.0
BURST = 200.0
REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay before attempt n + 1, in seconds: doubling, with up to a quarter of chance."""

    first: float = 1.0
    longest: float = 60.0

    def delay(self, failures: int) -> float:
        """The delay after so many failures in a row (at least one)."""
        base = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        return base * (1 + random() / 4)  # noqa: S311 (spreads retries, protects nothing)


class FloodLimiter:
    """A bucket of alarms for each device: `BURST` at once, `RATE` per second for ever. Time is an argument."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def admit(self, uid: str, now: float) -> bool:
        """Take one alarm out of the device's bucket; False when it is empty."""
        tokens, at = self._buckets.pop(uid, (BURST, now))
        tokens = min(BURST, tokens + max(0.0, now - at) * RATE)
        admitted = tokens >= 1.0
        self._buckets[uid] = (tokens - 1.0 if admitted else tokens, now)
        if len(self._buckets) > REMEMBERED:  # the one quiet for longest has a full bucket by now
            del self._buckets[next(iter(self._buckets))]
        return admitted
