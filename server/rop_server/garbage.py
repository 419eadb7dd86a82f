"""Full garbage collections wait while cameras come back in numbers: each stops the loop to look at every object.

With 10,000 cameras that is a quarter of a second, and a growing fleet makes the interpreter do it again and again.
The younger generations, which catch what a connection leaves behind, are collected as ever.
"""

from __future__ import annotations

import gc

MANY = 20
"""TLS handshakes begun within one second: cameras come back in numbers."""
LONGEST = 300
"""Seconds after which a full collection may come although they still do."""
_NEVER = 1_000_000_000


class FullCollections:
    """Holds them back; whether one is due remains the interpreter's own rule."""

    def __init__(self) -> None:
        self._before = gc.get_threshold()
        self._seen = 0
        self._held = 0

    @property
    def held(self) -> bool:
        """True while none can come."""
        return self._held > 0

    def tick(self, handshakes: int) -> None:
        """Once per second. `handshakes`: those begun since the start."""
        many = handshakes - self._seen > MANY
        self._seen = handshakes
        self._held = self._held + 1 if many and self._held < LONGEST else 0
        young, middle, old = self._before
        gc.set_threshold(young, middle, _NEVER if self.held else old)

    def close(self) -> None:
        """As before."""
        gc.set_threshold(*self._before)
