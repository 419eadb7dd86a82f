"""Alarms to the webhook: one ordered queue per device, retry with back-off, bounded memory.

Source: ROP v1.0 wire specification, client-api 4; discrepancies A15, A16, C2.17, C3.12, C5.12.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import structlog

from rop_server.state.journal import Event

log = structlog.get_logger("rop.alarms")

PER_DEVICE = 100
IN_ALL = 10_000
PARALLEL = 32
MAX_AGE_S = 3600.0
TIMEOUT_S = 30.0
MAX_ANSWER = 65_536
WECOM = "qyapi.weixin.qq.com"
HEADERS = {"Content-Type": "application/json; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay before attempt n + 1, in seconds: doubling, with up to a quarter of chance."""

    first: float = 1.0
    longest: float = 60.0

    def delay(self, failures: int) -> float:
        """The delay after so many failures in a row (at least one)."""
        base = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        return base * (1 + random.random() / 4)  # noqa: S311 (spreads retries, protects nothing)


def alarm_body(uid: str, event: dict[str, object], url: str) -> bytes:
    """The body of one alarm. Members that the device did not send are absent."""
    text = json.dumps({"uid": uid, **event}, ensure_ascii=False, separators=(",", ":"))
    if WECOM in url:
        text = json.dumps(
            {"msgtype": "text", "text": {"content": text}}, ensure_ascii=False, separators=(",", ":")
        )
    return text.encode("utf-8", "replace")


@dataclass(slots=True)
class _Alarm:
    event: dict[str, object]
    queued_at: float


class AlarmSender:
    """Sends alarms. `url` gives the address of now (None: alarms are off); it is never logged.

    `counts` has `sent`, `refused` (an answer that another attempt would not change), `retried`, `dropped`.
    """

    def __init__(
        self,
        url: Callable[[], str | None],
        session: aiohttp.ClientSession | None = None,
        *,
        backoff: Backoff | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._session = session
        self._own_session = session is None
        self._backoff = backoff or Backoff()
        self._monotonic = monotonic
        self._queues: dict[str, deque[_Alarm]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(PARALLEL)
        self._queued = 0
        self._closed = False
        self.counts: Counter[str] = Counter()

    @property
    def queued(self) -> int:
        """Alarms that wait, over all devices."""
        return self._queued

    def on_event(self, event: Event) -> None:
        """Take an event of the journal; anything but an alarm is ignored."""
        if event.type == "device.alarm" and event.uid is not None:
            self.push(event.uid, event.data)

    def push(self, uid: str, event: dict[str, object]) -> None:
        """Queue one alarm. A full queue of the device loses its oldest; full memory refuses the new one."""
        if self._closed or not self._url():
            return
        queue = self._queues.setdefault(uid, deque())
        if len(queue) >= PER_DEVICE:
            queue.popleft()
            self._lost(uid, "queue full")
        elif self._queued >= IN_ALL:
            if not queue:
                del self._queues[uid]
            self.counts["dropped"] += 1
            log.warning("alarm-dropped", uid=uid, reason="too many alarms wait")
            return
        queue.append(_Alarm(event, self._monotonic()))
        self._queued += 1
        if uid not in self._tasks:
            self._tasks[uid] = asyncio.get_running_loop().create_task(self._drain(uid, queue))

    async def close(self, grace: float = 2.0) -> None:
        """Give waiting alarms `grace` seconds, then stop."""
        self._closed = True
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._own_session and self._session is not None:
            await self._session.close()

    async def _drain(self, uid: str, queue: deque[_Alarm]) -> None:
        """Send a device's alarms in order; ends when none is left."""
        failures = 0
        try:
            while queue:
                alarm = queue[0]
                if self._monotonic() - alarm.queued_at > MAX_AGE_S:
                    queue.popleft()
                    self._lost(uid, "too old")
                    continue
                async with self._slots:
                    settled = await self._attempt(uid, alarm)
                if settled:
                    failures = 0
                    # A full queue may have lost this very alarm meanwhile.
                    if queue and queue[0] is alarm:
                        queue.popleft()
                        self._queued -= 1
                else:
                    failures += 1
                    self.counts["retried"] += 1
                    await asyncio.sleep(self._backoff.delay(failures))
        finally:
            self._queued -= len(queue)
            self._queues.pop(uid, None)
            self._tasks.pop(uid, None)

    async def _attempt(self, uid: str, alarm: _Alarm) -> bool:
        """One attempt; True when no other is needed."""
        url = self._url()
        if not url:  # switched off meanwhile
            self.counts["dropped"] += 1
            return True
        try:
            status = await self._post(url, alarm_body(uid, alarm.event, url))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # The text of these errors can contain the address, so only their kind is told.
            log.warning("alarm-failed", uid=uid, error=type(error).__name__)
            return False
        if status >= 500 or status in {408, 425, 429}:
            log.warning("alarm-failed", uid=uid, status=status)
            return False
        self.counts["sent" if status < 300 else "refused"] += 1
        log.info("alarm-sent", uid=uid, status=status)
        return True

    async def _post(self, url: str, body: bytes) -> int:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with self._session.post(
            url, data=body, headers=HEADERS, allow_redirects=False, timeout=timeout
        ) as answer:
            # Reading the answer lets the connection be used again; a hostile one is cut off.
            await answer.content.read(MAX_ANSWER)
            return answer.status

    def _lost(self, uid: str, reason: str) -> None:
        self._queued -= 1
        self.counts["dropped"] += 1
        log.warning("alarm-dropped", uid=uid, reason=reason)
