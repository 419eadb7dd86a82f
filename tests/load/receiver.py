"""A receiver of alarms beside a measurement: which arrived, each counted once."""

from __future__ import annotations

import asyncio

from aiohttp import web


class Receiver:
    """Refuses everything until `open` is set; then `seen` holds the identifiers of alarms that arrived."""

    def __init__(self) -> None:
        self.open = False
        self.refused = 0
        self.seen: set[str] = set()

    async def start(self, port: int) -> None:
        """Serve on loopback."""
        app = web.Application()
        app.router.add_post("/alarm", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()

    async def _take(self, request: web.Request) -> web.Response:
        await request.read()
        if not self.open:
            self.refused += 1
            return web.Response(status=503)
        self.seen.add(request.headers["webhook-id"])
        return web.Response()

    async def arrived(self, count: int, limit: float) -> int:
        """How many have arrived once all did, or the seconds are over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + limit
        while len(self.seen) < count and loop.time() < until:
            await asyncio.sleep(0.1)
        return len(self.seen)

    async def stop(self) -> None:
        """End."""
        await self._runner.cleanup()
