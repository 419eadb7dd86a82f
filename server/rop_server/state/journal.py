"""The ordered stream of events: a bounded ring with an epoch, subscribers, and long polls that wait for more."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from rop_server.state.record import rfc3339

log = structlog.get_logger("rop.state")

CAPACITY = 10_000
PAGE = 1_000
# Waiting polls are answered a moment after the first event, so that a burst costs one answer.
GATHER_S = 0.02


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `body` is the JSON text of its data (kept as bytes: it is sent far more often than read)."""

    seq: int
    type: str
    uid: str | None
    at: float
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        """The data as a value."""
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded

    def encode(self) -> bytes:
        """The JSON text of the event on the management interface."""
        uid = "null" if self.uid is None else json.dumps(self.uid)
        head = f'{{"seq":{self.seq},"type":"{self.type}","uid":{uid},"at":"{rfc3339(self.at)}","data":'
        return head.encode() + self.body + b"}"


class Journal:
    """A ring of the newest events of this process. A new process has a new epoch."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.epoch = secrets.token_hex(8)
        self.next = 1
        self._capacity = capacity
        self._ring: list[Event] = []
        self._subscribers: list[Callable[[Event], None]] = []
        self._waiting: set[asyncio.Future[None]] = set()
        self._gathering: asyncio.TimerHandle | None = None
        self._closed = False

    def append(self, type_: str, uid: str | None, at: float, body: bytes) -> Event:
        """Record an event and tell subscribers and waiting polls."""
        event = Event(self.next, type_, uid, at, body)
        if len(self._ring) < self._capacity:
            self._ring.append(event)
        else:
            self._ring[(self.next - 1) % self._capacity] = event
        self.next += 1
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:
                log.exception("subscriber", type=type_)
        if self._waiting and self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_S, self._release)
        return event

    def since(self, number: int, epoch: str) -> list[Event] | None:
        """Events from `number` on, at most a page; None when that position is unknown here (list again)."""
        oldest = max(1, self.next - len(self._ring))
        if epoch != self.epoch or not oldest <= number <= self.next:
            return None
        last = min(self.next, number + PAGE)
        return [self._ring[(seq - 1) % self._capacity] for seq in range(number, last)]

    async def wait(self, number: int, seconds: float) -> None:
        """Return when there is an event `number`, after `seconds`, or when the journal closes."""
        if self.next > number or self._closed or seconds <= 0:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return
        finally:
            self._waiting.discard(future)

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` with every later event; returns the function that ends it."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def close(self) -> None:
        """Answer every waiting poll now and let none wait again."""
        self._closed = True
        self._release()

    def _release(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
