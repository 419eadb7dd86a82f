"""TLS handshakes take turns: a turn of the event loop stays short when thousands come back at once. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

AT_ONCE = 24
SHORTEST, LONGEST = 0.1, 0.4
"""Seconds of a turn: a slow peer delays nobody else for longer. The more handshakes outlast their turn, the longer
the next ones are, so that no more begin than end on a slow machine; crowds of slow peers cannot stop the others.
"""


class Turns:
    """Lets so many begin at once; who waits comes in order, one of each address after the other.

    `begun`: how many did since the start; `late`: those that go on after their turn.
    """

    __slots__ = ("_at_once", "_free", "_waiting", "begun", "late")

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = self._free = at_once
        self._waiting: dict[str, deque[Callable[[Turn], bool]]] = {}
        self.begun = 0
        self.late = 0

    @property
    def seconds(self) -> float:
        """How long a turn lasts that begins now."""
        return min(LONGEST, SHORTEST * (1 + self.late / self._at_once))

    def ask(self, address: str, begin: Callable[[Turn], bool]) -> None:
        """Call `begin` when it is its turn; it says whether it still wants it."""
        self._waiting.setdefault(address, deque()).append(begin)
        self._go_on()

    def _give_back(self) -> None:
        self._free += 1
        self._go_on()

    def _go_on(self) -> None:
        while self._free and self._waiting:
            address, queue = next(iter(self._waiting.items()))
            begin = queue.popleft()
            del self._waiting[address]
            if queue:
                self._waiting[address] = queue  # behind the other addresses
            self._free -= 1
            if begin(Turn(self)):
                self.begun += 1
            else:
                self._free += 1


class Turn:
    """Held by who has begun."""

    __slots__ = ("_late", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns: Turns | None = turns
        self._late = False

    def end(self) -> None:
        """The time is over: the next one may begin although this handshake goes on."""
        if self._turns is not None and not self._late:
            self._late = True
            self._turns.late += 1
            self._turns._give_back()

    def release(self) -> None:
        """The handshake is over; further calls do nothing."""
        turns, self._turns = self._turns, None
        if turns is None:
            return
        if self._late:
            turns.late -= 1
        else:
            turns._give_back()
