"""The receiver of a drill's alarms, on loopback."""

import asyncio
import json
from contextlib import suppress
from typing import Any

from aiohttp import web

from rop_drill.strip import LOOPBACK


class AlarmSink:
    """Takes every alarm that is posted to it."""

    def __init__(self) -> None:
        self.alarms: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port; `url` tells where."""
        app = web.Application()
        app.router.add_post("/alarms", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://{LOOPBACK}:{port}/alarms"

    async def _take(self, request: web.Request) -> web.Response:
        with suppress(ValueError):
            told = json.loads(await request.read())
            if isinstance(told, dict):
                self.alarms.put_nowait(told)
        return web.Response()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
