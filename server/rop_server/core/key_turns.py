"""When a device that still uses an older key index must register again: one by one, never all at once.

The wire has one current index: a hello with another one is answered 400 and the device registers on 61002. After
a change of the index the whole fleet would do so within seconds. Here the older index, which was proved with its
key, stays accepted until it is the device's turn.

Source: ROP v1.0 wire specification, device-protocol 6.3, pki-and-config 5; discrepancies C2.16.

Nothing is stored: after a restart the turns begin anew for those that still show an older index.
"""

from __future__ import annotations

import math
from collections.abc import Callable

RATE = 5.0
"""Devices per second that must register again."""
BURST = 10
"""Devices that may be told at once; a fleet of no more than this moves without waiting."""
_HASHES = 2**64


class KeyTurns:
    """Gives turns. `clock` is monotonic seconds, `fleet` tells how many devices are connected. `given` counts the
    turns of this process.
    """

    def __init__(
        self, clock: Callable[[], float], fleet: Callable[[], int], rate: float = RATE, burst: int = BURST
    ) -> None:
        self._clock = clock
        self._fleet = fleet
        self._usual = self._rate, self._burst = rate, burst
        self._current: str | None = None
        self._since = self._span = 0.0
        self._tokens = float(burst)
        self._filled = clock()
        self.given = 0
        self._told: set[tuple[str, str]] = set()

    def pace(self, rate: float | None) -> None:
        """At most `rate` devices per second from now on, those of one second at once; None: the usual pace."""
        self._rate, self._burst = self._usual if rate is None else (rate, max(1, math.ceil(rate)))
        self._tokens = min(self._tokens, float(self._burst))

    def due(self, index: str, device: str, current: str) -> bool:
        """Whether this device (UID hash) with this index must register again now. Once True, it remains so until
        the current index changes, and costs no second turn.
        """
        if index == current:
            return False
        now = self._clock()
        if current != self._current:
            self._begin(current, now)
        if (index, device) in self._told:
            return True
        if not self._reached(device, now) or not self._take(now):
            return False
        self._told.add((index, device))
        self.given += 1
        return True

    def _begin(self, current: str, now: float) -> None:
        # The bucket stays as it is: a second change right after the first brings no second burst.
        self._current, self._since = current, now
        self._span = max(0, self._fleet() - self._burst) / self._rate
        self._told.clear()

    def _reached(self, device: str, now: float) -> bool:
        """Turns go by the UID hash, so that they spread evenly however often a device asks."""
        passed = now - self._since
        if passed >= self._span:
            return True
        try:
            place = int(device, 16)
        except ValueError:  # no UID has such a hash: whoever shows it has no claim to wait
            return True
        return place / _HASHES < passed / self._span

    def _take(self, now: float) -> bool:
        self._tokens = min(float(self._burst), self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
