"""A real receiver of alarms, and senders on a queue in a file."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rop_server.alarms.bounds import Backoff
from rop_server.alarms.queue import AlarmQueue
from rop_server.alarms.sender import AlarmSender, Times
from rop_server.alarms.sinks import WEBHOOK, Sink


@dataclass
class Receiver:
    """A webhook that answers as told and keeps what it got."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    # The receiver refuses while the body contains this.
    bad: bytes | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/s3cr3t?k=1"

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.got.append((request.path_qs, dict(request.headers), body))
        if self.gate is not None:
            await self.gate.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        if self.bad is not None and self.bad in body:
            status = 503
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})

    def numbers(self, uid: str) -> list[object]:
        bodies = [json.loads(body) for _, _, body in self.got]
        return [body.get("channelId") for body in bodies if body["uid"] == uid]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    if made.gate is not None:
        made.gate.set()
    await runner.cleanup()


@pytest.fixture
async def make(receiver: Receiver, tmp_path: Path) -> AsyncIterator[Callable[..., AlarmSender]]:
    """Build a sender on `alarms.db`; its sinks are a dictionary that tests may change."""
    senders: list[AlarmSender] = []

    def build(sinks: dict[str, Sink] | None = None, name: str = "alarms.db", **options: Any) -> AlarmSender:
        found = {WEBHOOK: Sink(WEBHOOK, receiver.url, b"k" * 32)} if sinks is None else sinks
        times = Times(backoff=Backoff(0.01, 0.02), **options.pop("times", {}))
        senders.append(AlarmSender(AlarmQueue(tmp_path / name), lambda: found, times=times, **options))
        senders[-1].start()
        return senders[-1]

    yield build
    for sender in senders:
        await sender.close(0.1)


async def _until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        await asyncio.sleep(0.01)


@pytest.fixture
def until() -> Callable[..., Any]:
    """Poll a condition with a deadline."""
    return _until
