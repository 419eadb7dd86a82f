"""Requests that wait for a response of the device. Time is an argument, nothing blocks.

Source: ROP v1.0 wire specification, device-protocol 3 (matching) and 8 (time-outs); discrepancies C3.3, C3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Answer:
    """A matched response: its status and payload."""

    status: int
    payload: bytes


class End(Enum):
    """Why a request will never be answered."""

    LOST = "lost"
    EXPIRED = "expired"


Outcome = Answer | End


@dataclass(slots=True, eq=False)
class Waiting:
    """One request on its way; `deadline` in monotonic seconds."""

    connection: Hashable
    request_id: int
    command: int
    deadline: float
    done: Callable[[Outcome], None]


class PendingTable:
    """Waiting requests, keyed by connection, request number and command.

    A response that matches nothing is not an error: it came late.
    """

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[Hashable, dict[tuple[int, int], Waiting]] = {}

    def add(
        self,
        connection: Hashable,
        request_id: int,
        command: int,
        deadline: float,
        done: Callable[[Outcome], None],
    ) -> Waiting:
        """Remember a request; `done` is called exactly once unless `discard` comes first."""
        waiting = Waiting(connection, request_id, command, deadline, done)
        self._tables.setdefault(connection, {})[(request_id, command)] = waiting
        return waiting

    def resolve(self, connection: Hashable, request_id: int, command: int, status: int, payload: bytes) -> bool:
        """Hand a response to its waiter; False when nobody waits (any more)."""
        waiting = self._take(connection, request_id, command)
        if waiting is None:
            return False
        waiting.done(Answer(status, payload))
        return True

    def discard(self, waiting: Waiting) -> None:
        """Forget a request whose caller went away."""
        table = self._tables.get(waiting.connection)
        if table is not None and table.get((waiting.request_id, waiting.command)) is waiting:
            self._take(waiting.connection, waiting.request_id, waiting.command)

    def drop(self, connection: Hashable) -> int:
        """The connection ended: every request on it is lost. Returns how many."""
        table = self._tables.pop(connection, None)
        if not table:
            return 0
        for waiting in table.values():
            waiting.done(End.LOST)
        return len(table)

    def expire(self, now: float) -> int:
        """End the requests whose deadline has passed. Returns how many."""
        late = [
            waiting for table in self._tables.values() for waiting in table.values() if waiting.deadline <= now
        ]
        for waiting in late:
            if self._take(waiting.connection, waiting.request_id, waiting.command) is not None:
                waiting.done(End.EXPIRED)
        return len(late)

    def count(self, connection: Hashable) -> int:
        """Requests that wait on this connection."""
        return len(self._tables.get(connection, ()))

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    def _take(self, connection: Hashable, request_id: int, command: int) -> Waiting | None:
        table = self._tables.get(connection)
        if table is None:
            return None
        waiting = table.pop((request_id, command), None)
        if not table:
            del self._tables[connection]
        return waiting
