"""Bulk work takes its turn, so that heartbeats and calls never wait for it."""

from __future__ import annotations

import asyncio
from collections import deque


class Pacer:
    """Lets at most `per_turn` callers go on in one turn of the event loop, in order of arrival."""

    def __init__(self, per_turn: int) -> None:
        self._per_turn = per_turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._scheduled = False

    async def turn(self) -> None:
        """Wait for one's turn."""
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        self._waiting.append(place)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._let_go)
        await place

    def _let_go(self) -> None:
        left = self._per_turn
        while self._waiting and left:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                left -= 1
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._let_go)
