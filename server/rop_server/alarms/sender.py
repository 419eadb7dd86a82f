"""Alarms on their way: from the journal into the durable queue, and from there to every sink, at least once.

Order is kept for each device and sink. Failed attempts are repeated with growing delays until the alarm is too
old; then it becomes a dead letter, which `replay` brings back. Source: discrepancies C3.12, C5.12.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from rop_server.alarms import bounds
from rop_server.alarms.bounds import Backoff, FloodLimiter
from rop_server.alarms.lanes import Lane, SinkState, Timer
from rop_server.alarms.queue import AlarmQueue, DeadRow, Row
from rop_server.alarms.sinks import Sink
from rop_server.alarms.webhook import Outcome, Poster, alarm_body
from rop_server.state.journal import Event

log = structlog.get_logger("rop.alarms")

MAX_AGE_S = 86_400.0
PURGE_S = 3600.0
FULL_LOG_S = 10.0


def later(delay: float, call: Callable[..., None], *arguments: Any) -> Timer:
    """Call something on the running loop after so many seconds."""
    return asyncio.get_running_loop().call_later(delay, call, *arguments)


@dataclass(frozen=True, slots=True)
class Times:
    """Clocks, timers and delays of a sender."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    later: Callable[..., Timer] = later
    backoff: Backoff = field(default_factory=Backoff)


class AlarmSender:
    """Sends alarms. `sinks` gives the receivers of now, `max_age` the seconds until an alarm is given up.

    `counts` over all sinks: `sent`, `refused`, `retried`, `dead`, `dropped`, `revived`.
    """

    def __init__(
        self,
        queue: AlarmQueue,
        sinks: Callable[[], Mapping[str, Sink]],
        max_age: Callable[[], float] = lambda: MAX_AGE_S,
        times: Times | None = None,
    ) -> None:
        self._queue = queue
        self._sinks = sinks
        self._max_age = max_age
        self._times = times or Times()
        self._poster = Poster()
        self._flood = FloodLimiter()
        self._states: dict[str, SinkState] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._sync: asyncio.Future[None] | None = None
        self._purge_at = 0.0
        self._quiet_until: dict[str, float] = {}
        self.dropped: Counter[str] = Counter()
        for name, uid, count in queue.lanes():
            state = self._state(name)
            state.count(state.lane(uid), count)

    def start(self) -> None:
        """Go on with what waited at the last stop; called on the running loop."""
        for name in self._sinks():
            self._state(name)
        for state in self._states.values():
            for lane in list(state.lanes.values()):
                self._engage(state, lane)

    # -- what it tells ----------------------------------------------------------------------------

    @property
    def counts(self) -> Counter[str]:
        """Alarms by outcome, over all sinks."""
        total: Counter[str] = Counter({"dropped": sum(self.dropped.values())})
        for state in self._states.values():
            total.update(state.counts)
        return total

    @property
    def queued(self) -> int:
        """Alarms that wait, over all sinks."""
        return sum(state.waiting for state in self._states.values())

    def status(self) -> list[dict[str, Any]]:
        """Each sink: `name, address (masked), enabled, down, waiting, oldest, dead, last, counts`."""
        sinks, dead = self._sinks(), self._queue.dead_counts()
        for name in (*sinks, *dead):
            self._state(name)
        return [
            {
                "name": state.name,
                "address": sinks[state.name].address if state.name in sinks else None,
                "enabled": state.name in sinks,
                "down": state.down,
                "waiting": state.waiting,
                "oldest": self._queue.oldest(state.name),
                "dead": dead.get(state.name, 0),
                "last": state.told,
                "counts": dict(state.counts),
            }
            for state in self._states.values()
        ]

    def dead(self, sink: str | None = None, uid: str | None = None, limit: int = 1000) -> list[DeadRow]:
        """Dead letters, newest first."""
        return self._queue.dead(sink, uid, limit)

    # -- alarms in --------------------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Take an event of the journal; anything but an alarm is ignored."""
        if event.type == "device.alarm" and event.uid is not None:
            self.push(event.uid, event.data)

    def push(self, uid: str, event: Mapping[str, object]) -> None:
        """Queue one alarm for every sink that wants it; it is in the file when this returns."""
        names = [name for name, sink in self._sinks().items() if sink.filter.wants(uid, event)]
        if self._closed or not names:
            return
        if not self._flood.admit(uid, self._times.monotonic()):
            self._lost(uid, "flood")
            return
        body = alarm_body(uid, event)
        try:
            self._queue.put(names, uid, f"msg_{secrets.token_hex(12)}", self._times.wall(), body)
            for name in names:
                self._added(self._state(name), uid)
        except sqlite3.Error as error:
            self._lost(uid, "disk", str(error))

    def replay(self, sink: str | None = None, uid: str | None = None, ids: Iterable[str] | None = None) -> int:
        """Send dead letters again (all, or those of a sink, a device, or with these ids); their number."""
        back = self._queue.revive(sink, uid, ids, self._sinks(), self._times.wall())
        for name, whose in back:
            state = self._state(name)
            state.counts["revived"] += 1
            self._added(state, whose)
        return len(back)

    def _added(self, state: SinkState, uid: str) -> None:
        lane = state.lane(uid)
        state.count(lane, 1)
        if lane.waiting > bounds.PER_DEVICE:
            self._shed(state, lane, "queue full")
        elif self.queued > bounds.IN_ALL:
            self._shed(state, max(state.lanes.values(), key=lambda each: each.waiting), "too many wait")
        self._engage(state, lane)

    def _shed(self, state: SinkState, lane: Lane, reason: str) -> None:
        oldest = self._queue.head(state.name, lane.uid)
        if oldest is not None and self._queue.remove(oldest):
            state.count(lane, -1)
            self._lost(lane.uid, reason)

    def _lost(self, uid: str, reason: str, error: str | None = None) -> None:
        self.dropped[reason] += 1
        now = self._times.monotonic()
        if now >= self._quiet_until.get(reason, 0.0):  # a flood of alarms must not become a flood of lines
            self._quiet_until[reason] = now + FULL_LOG_S
            log.warning("alarm-dropped", uid=uid, reason=reason, error=error, dropped=self.dropped[reason])

    # -- alarms out -------------------------------------------------------------------------------

    def _state(self, name: str) -> SinkState:
        return self._states.setdefault(name, SinkState(name))

    def _engage(self, state: SinkState, lane: Lane) -> None:
        if self._closed or lane.engaged:
            return
        if lane.waiting <= 0:
            state.lanes.pop(lane.uid, None)
            return
        lane.engaged = True
        state.ready.append(lane)
        self._pump(state)

    def _pump(self, state: SinkState) -> None:
        now = self._times.monotonic()
        while not self._closed and state.may_start(now):
            state.active += 1
            task = asyncio.get_running_loop().create_task(self._turn(state, state.ready.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if state.ready and now < state.open_at and state.timer is None and not self._closed:
            state.timer = self._times.later(state.open_at - now, self._open, state)

    def _open(self, state: SinkState) -> None:
        state.timer = None
        self._pump(state)

    async def _turn(self, state: SinkState, lane: Lane) -> None:
        """One alarm of one lane; then the lane queues again, at once or after its delay."""
        delay = 0.0
        try:
            delay = await self._deliver(state, lane)
        except sqlite3.Error as error:
            log.error("alarm-queue", message="nok", error=str(error))
            delay = self._times.backoff.longest
        finally:
            state.active -= 1
        if delay > 0:
            lane.timer = self._times.later(delay, self._again, state, lane)
        else:
            self._again(state, lane)
        self._pump(state)

    def _again(self, state: SinkState, lane: Lane) -> None:
        lane.timer = None
        lane.engaged = False
        self._engage(state, lane)

    async def _deliver(self, state: SinkState, lane: Lane) -> float:
        """Try the oldest alarm of the lane; the delay before the next attempt."""
        row = self._queue.head(state.name, lane.uid)
        if row is None:
            state.count(lane, -lane.waiting)
            return 0.0
        sink, now = self._sinks().get(state.name), self._times.wall()
        if sink is None:
            self._bury(state, lane, row, "sink removed or switched off")
            return 0.0
        if now - row.at > self._max_age():
            self._bury(state, lane, row, f"too old; last answer: {state.told}")
            return 0.0
        return self._settle(state, lane, row, await self._poster.post(sink, row.id, row.body, now))

    def _settle(self, state: SinkState, lane: Lane, row: Row, outcome: Outcome) -> float:
        state.told = outcome.told
        if outcome.result == "Failed":
            lane.failures += 1
            state.counts["retried"] += 1
            now, backoff = self._times.monotonic(), self._times.backoff
            state.failed_once(lane.uid, now, backoff, outcome.retry_after)
            log.warning("alarm-failed", uid=row.uid, sink=state.name, id=row.id, reason=outcome.told)
            return backoff.delay(lane.failures)
        lane.failures = 0
        state.succeeded()
        if outcome.result == "Refused":
            state.counts["refused"] += 1
            self._bury(state, lane, row, outcome.told)
            return 0.0
        state.counts["sent"] += 1
        # It may have been shed meanwhile.
        state.count(lane, -self._queue.remove(row))
        log.info("alarm-sent", uid=row.uid, sink=state.name, id=row.id, reason=outcome.told)
        return 0.0

    def _bury(self, state: SinkState, lane: Lane, row: Row, reason: str) -> None:
        state.count(lane, -self._queue.bury(row, reason, self._times.wall()))
        state.counts["dead"] += 1
        log.warning("alarm-dead", uid=row.uid, sink=state.name, id=row.id, reason=reason)

    # -- life -------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Once per second: force the queue onto the disk, in a thread; forget old dead letters."""
        if self._queue.dirty and (self._sync is None or self._sync.done()):
            self._sync = asyncio.get_running_loop().run_in_executor(None, self._queue.sync)
        now = self._times.monotonic()
        if now >= self._purge_at:
            self._purge_at = now + PURGE_S
            self._queue.forget_old(self._times.wall())

    async def close(self, grace: float = 2.0) -> None:
        """Give attempts that run `grace` seconds; what waits stays in the file."""
        self._closed = True
        for state in self._states.values():
            state.cancel()
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for state in self._states.values():
            state.cancel()
        if self._sync is not None:
            await asyncio.gather(self._sync, return_exceptions=True)
        await self._poster.close()
        self._queue.close()
