"""A sink that is down for ten minutes, by a clock that the test moves: nothing is lost, nothing is hammered."""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rop_server.alarms.queue import AlarmQueue
from rop_server.alarms.sender import AlarmSender, Times
from rop_server.alarms.sinks import Sink

UIDS = [f"95270000000TES{number:02d}" for number in range(20)]
OUTAGE = 600.0
EVERY = 30.0
NOBODY = "http://127.0.0.1:1/"


class Timer:
    """A call at a moment of the test's clock."""

    def __init__(self, at: float, number: int, call: Callable[[], None]) -> None:
        self.order = (at, number)
        self.call = call
        self.cancelled = False

    def __lt__(self, other: Timer) -> bool:
        return self.order < other.order

    def cancel(self) -> None:
        self.cancelled = True


class Scene:
    """Time that passes only when the test says so. Attempts are real, and settle before time goes on."""

    def __init__(self, path: Path, until: Any) -> None:
        self.now = 0.0
        self.sinks = {"ops": Sink("ops", NOBODY)}
        self.sender: AlarmSender
        self._path = path
        self._until = until
        self._timers: list[Timer] = []
        self._numbers = count()
        self.start()

    def start(self) -> None:
        """A sender on the file, as after a start of the server."""
        times = Times(lambda: self.now, lambda: 1_700_000_000 + self.now, self._later)
        self.sender = AlarmSender(AlarmQueue(self._path), lambda: self.sinks, times=times)
        self.sender.start()

    def _later(self, delay: float, call: Callable[..., None], *arguments: Any) -> Timer:
        made = Timer(self.now + delay, next(self._numbers), lambda: call(*arguments))
        heapq.heappush(self._timers, made)
        return made

    async def settle(self) -> None:
        await self._until(lambda: not self.sender._tasks)

    async def pass_until(self, moment: float) -> None:
        """Let time go on to a moment; every timer on the way fires at its own."""
        await self.settle()
        while self._timers and self._timers[0].order[0] <= moment:
            timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self.now = timer.order[0]
                timer.call()
                await self.settle()
        self.now = moment


@pytest.fixture
async def scene(tmp_path: Path, until: Any) -> Any:
    made = Scene(tmp_path / "alarms.db", until)
    yield made
    await made.sender.close(0)


async def test_ten_minutes_without_a_sink(scene: Scene, receiver: Any) -> None:
    """Twenty cameras raise an alarm every half minute; the server is killed and started again in between."""
    moments = [EVERY * number for number in range(int(OUTAGE / EVERY))]
    attempts = 0
    for number, moment in enumerate(moments):
        await scene.pass_until(moment)
        if number == len(moments) // 2:
            attempts += scene.sender.counts["retried"]
            await scene.sender.close(0)
            scene.start()
        for uid in UIDS:
            scene.sender.push(uid, {"channelId": str(number)})
    await scene.pass_until(OUTAGE)
    attempts += scene.sender.counts["retried"]
    assert scene.sender.queued == len(UIDS) * len(moments)
    assert scene.sender.counts["dead"] == scene.sender.counts["dropped"] == 0
    assert scene.sender.status()[0]["down"]
    # Before it counts as down every camera may try; then one attempt at a time, a minute apart in the end.
    assert attempts < 3 * len(UIDS) + OUTAGE / 60 + 20

    scene.sinks["ops"] = Sink("ops", receiver.url)
    longest = 60 * 1.25
    await scene.pass_until(OUTAGE + longest)
    assert scene.sender.queued == 0, "all of it goes out after one pause at most"
    arrived = defaultdict(list)
    for _, _, body in receiver.got:
        told = json.loads(body)
        arrived[told["uid"]].append(told["channelId"])
    wanted = [str(number) for number in range(len(moments))]
    assert arrived == dict.fromkeys(UIDS, wanted), "each once, in order"
