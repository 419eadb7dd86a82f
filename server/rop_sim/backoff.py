"""Pauses between attempts."""

import random


class Backoff:
    """1 s doubling to 60 s, with jitter down to half. Source: device-protocol 9.1."""

    def __init__(self, first: float = 1.0, most: float = 60.0) -> None:
        self._first = first
        self._most = most
        self._next = first

    def reset(self) -> None:
        """After a success."""
        self._next = self._first

    def pause(self) -> float:
        """Seconds until the next attempt."""
        pause = self._next * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self._next = min(self._most, self._next * 2)
        return pause
