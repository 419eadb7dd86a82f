"""TLS handshakes take turns: a turn of the event loop stays short when thousands come back at once. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

AT_ONCE = 24


class Turns:
    """Lets so many begin at once; who waits comes in order, one of each address after the other.

    `begun`: how many did since the start.
    """

    __slots__ = ("_free", "_waiting", "begun")

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = at_once
        self._waiting: dict[str, deque[Callable[[Turn], bool]]] = {}
        self.begun = 0

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

    __slots__ = ("_turns",)

    def __init__(self, turns: Turns) -> None:
        self._turns: Turns | None = turns

    def release(self) -> None:
        """Let the next one begin; further calls do nothing."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns._give_back()
