"""Delivery of alarms to a real receiver. Source: ROP v1.0 wire specification, client-api 4."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from rop_server.alarms import webhook
from rop_server.alarms.webhook import AlarmSender, Backoff, alarm_body

UID = "95270000000TEST1"
OTHER = "95270000000TEST2"
EVENT: dict[str, object] = {"channelId": "0", "status": "MD", "AItype": "people,vehicle"}


@dataclass
class Receiver:
    """A webhook that answers as told and keeps what it got."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    gate: asyncio.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/s3cr3t?k=1"

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append((request.path_qs, dict(request.headers), await request.read()))
        if self.gate is not None:
            await self.gate.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})

    def numbers(self, uid: str) -> list[object]:
        bodies = [json.loads(body) for _, _, body in self.got]
        return [body.get("channelId") for body in bodies if body["uid"] == uid]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    if made.gate is not None:
        made.gate.set()
    await runner.cleanup()


@pytest.fixture
async def make(receiver: Receiver) -> AsyncIterator[Callable[..., AlarmSender]]:
    senders: list[AlarmSender] = []

    def build(url: Callable[[], str | None] | None = None, **options: Any) -> AlarmSender:
        options.setdefault("backoff", Backoff(0.01, 0.02))
        senders.append(AlarmSender(url or (lambda: receiver.url), **options))
        return senders[-1]

    yield build
    for sender in senders:
        await sender.close(0.1)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        await asyncio.sleep(0.01)


async def test_one_alarm(receiver: Receiver, make: Any, book: Any, clock: Any) -> None:
    sender = make()
    book.subscribe(sender.on_event)
    book.code(UID, "Issued", None, clock.now)
    book.alarm(UID, EVENT, clock.now)
    await until(lambda: sender.counts["sent"] == 1)
    path, headers, body = receiver.got[0]
    assert path == "/s3cr3t?k=1"
    assert body == b'{"uid":"95270000000TEST1","channelId":"0","status":"MD","AItype":"people,vehicle"}'
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert "Authorization" not in headers
    assert len(receiver.got) == 1


def test_absent_members_and_wecom() -> None:
    assert alarm_body(UID, {"status": "IOAlarm"}, "https://x/") == b'{"uid":"95270000000TEST1","status":"IOAlarm"}'
    wrapped = json.loads(alarm_body(UID, EVENT, "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=1"))
    assert wrapped["msgtype"] == "text"
    assert json.loads(wrapped["text"]["content"]) == {"uid": UID, **EVENT}


async def test_order_is_kept_per_device_while_attempts_fail(receiver: Receiver, make: Any) -> None:
    receiver.statuses = [500, 503, 200, 429, 200, 500]
    sender = make()
    for number in range(5):
        sender.push(UID, {"channelId": str(number)})
        sender.push(OTHER, {"channelId": str(number)})
    await until(lambda: sender.counts["sent"] == 10)
    for uid in (UID, OTHER):
        arrived = receiver.numbers(uid)
        assert list(dict.fromkeys(arrived)) == [str(number) for number in range(5)]
        assert arrived == sorted(arrived, key=lambda text: int(str(text)))
    assert sender.counts["retried"] == 4
    assert sender.queued == 0


async def test_a_silent_receiver_is_tried_again(receiver: Receiver, make: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.2)
    receiver.gate = asyncio.Event()
    sender = make()
    sender.push(UID, EVENT)
    await until(lambda: sender.counts["retried"] >= 1)
    receiver.gate.set()
    await until(lambda: sender.counts["sent"] == 1)


async def test_a_receiver_that_is_not_there_yet(make: Any, receiver: Receiver) -> None:
    port = receiver.port
    where = {"url": "http://127.0.0.1:1/"}
    sender = make(lambda: where["url"])
    sender.push(UID, EVENT)
    await until(lambda: sender.counts["retried"] >= 2)
    where["url"] = f"http://127.0.0.1:{port}/now"
    await until(lambda: sender.counts["sent"] == 1)


@pytest.mark.parametrize("status", [302, 400, 404])
async def test_other_answers_settle_and_redirects_are_not_followed(
    receiver: Receiver, make: Any, status: int
) -> None:
    receiver.statuses = [status]
    sender = make()
    sender.push(UID, EVENT)
    await until(lambda: sender.counts["refused"] == 1)
    assert [path for path, _, _ in receiver.got] == ["/s3cr3t?k=1"]


async def test_queues_are_bounded_and_lose_the_oldest(
    receiver: Receiver, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "PER_DEVICE", 3)
    monkeypatch.setattr(webhook, "IN_ALL", 4)
    receiver.gate = asyncio.Event()
    sender = make()
    for number in range(10):
        sender.push(UID, {"channelId": str(number)})
    sender.push(OTHER, {"channelId": "a"})
    sender.push(OTHER, {"channelId": "b"})
    assert sender.queued == 4
    assert sender.counts["dropped"] == 8
    receiver.gate.set()
    await until(lambda: sender.queued == 0)
    assert receiver.numbers(UID)[-2:] == ["8", "9"]
    assert receiver.numbers(OTHER) == ["a"]


async def test_old_alarms_are_dropped(receiver: Receiver, make: Any) -> None:
    now = [0.0]
    sender = make(lambda: "http://127.0.0.1:1/", monotonic=lambda: now[0])
    sender.push(UID, EVENT)
    await until(lambda: sender.counts["retried"] >= 1)
    now[0] = webhook.MAX_AGE_S + 1
    await until(lambda: sender.counts["dropped"] == 1)
    assert sender.queued == 0


async def test_alarms_switched_off(receiver: Receiver, make: Any) -> None:
    sender = make(lambda: None)
    sender.push(UID, EVENT)
    assert sender.queued == 0
    assert receiver.got == []


async def test_the_address_is_in_no_log(receiver: Receiver, make: Any, log_lines: Any) -> None:
    for url in (receiver.url, "http://127.0.0.1:1/s3cr3t", "nonsense s3cr3t", "ftp://h/s3cr3t"):
        sender = make(lambda url=url: url)
        sender.push(UID, EVENT)
        await until(lambda sender=sender: sum(sender.counts.values()) > 0)
        await sender.close(0)
    assert '"action":"alarm-sent"' in log_lines() and '"action":"alarm-failed"' in log_lines()
    assert "s3cr3t" not in log_lines()


async def test_closing_leaves_no_task(receiver: Receiver, make: Any) -> None:
    before = asyncio.all_tasks()
    receiver.gate = asyncio.Event()
    sender = make()
    sender.push(UID, EVENT)
    await until(lambda: len(receiver.got) == 1)
    await sender.close(0.05)
    sender.push(UID, EVENT)
    left = {task for task in asyncio.all_tasks() - before if "_drain" in repr(task)}
    assert left == set()
    assert sender.queued == 0


def test_backoff_doubles_up_to_its_limit() -> None:
    backoff = Backoff(1, 60)
    for failures, base in [(1, 1), (2, 2), (4, 8), (7, 60), (5000, 60)]:
        assert base <= backoff.delay(failures) <= base * 1.25
