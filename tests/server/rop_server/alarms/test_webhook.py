"""Delivery of alarms to a real receiver. Source: ROP v1.0 wire specification, client-api 4."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest

from rop_server.alarms import bounds, webhook
from rop_server.alarms.bounds import Backoff, FloodLimiter
from rop_server.alarms.queue import AlarmQueue
from rop_server.alarms.sinks import WEBHOOK, Filter, Sink, key_bytes, masked, new_key
from rop_server.alarms.webhook import alarm_body, body_for, outcome_of

UID = "95270000000TEST1"
OTHER = "95270000000TEST2"
EVENT: dict[str, object] = {"channelId": "0", "status": "MD", "AItype": "people,vehicle"}
NOBODY = "http://127.0.0.1:1/s3cr3t"


async def test_one_alarm(receiver: Any, make: Any, until: Any, book: Any, clock: Any) -> None:
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
    assert len(receiver.got) == 1 and sender.queued == 0


async def test_every_attempt_is_signed_and_the_id_stays(receiver: Any, make: Any, until: Any) -> None:
    receiver.statuses = [500]
    sender = make()
    sender.push(UID, EVENT)
    await until(lambda: sender.counts["sent"] == 1)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.got}) == 1
    for _, headers, body in receiver.got:
        at = headers["webhook-timestamp"]
        assert abs(int(at) - time.time()) < 30
        signed = f"{headers['webhook-id']}.{at}.".encode() + body
        expected = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"


def test_absent_members_and_wecom() -> None:
    assert alarm_body(UID, {"status": "IOAlarm"}) == b'{"uid":"95270000000TEST1","status":"IOAlarm"}'
    assert body_for("https://x/", b"{}") == b"{}"
    wrapped = json.loads(body_for("https://qyapi.weixin.qq.com/send?key=1", alarm_body(UID, EVENT)))
    assert wrapped["msgtype"] == "text"
    assert json.loads(wrapped["text"]["content"]) == {"uid": UID, **EVENT}


async def test_order_is_kept_per_device_while_attempts_fail(receiver: Any, make: Any, until: Any) -> None:
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


async def test_a_silent_receiver_is_tried_again(receiver: Any, make: Any, until: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.2)
    receiver.gate = asyncio.Event()
    sender = make()
    sender.push(UID, EVENT)
    await until(lambda: sender.counts["retried"] >= 1)
    receiver.gate.set()
    await until(lambda: sender.counts["sent"] == 1)


async def test_a_sink_that_is_down_gets_single_attempts_and_then_everything(
    make: Any, receiver: Any, until: Any
) -> None:
    sinks = {WEBHOOK: Sink(WEBHOOK, NOBODY)}
    sender = make(sinks)
    uids = [f"95270000000TES{number:02d}" for number in range(40)]
    for uid in uids:
        sender.push(uid, EVENT)
    await until(lambda: sender.status()[0]["down"])
    sinks[WEBHOOK] = Sink(WEBHOOK, receiver.url)
    await until(lambda: sender.counts["sent"] == len(uids))
    assert not sender.status()[0]["down"]


async def test_one_bad_alarm_delays_no_other_device(make: Any, receiver: Any, until: Any) -> None:
    receiver.bad = UID.encode()
    sender = make()
    sender.push(UID, EVENT)
    await until(lambda: sender.counts["retried"] >= 8)
    sender.push(OTHER, EVENT)
    await until(lambda: sender.counts["sent"] == 1)
    assert sender.queued == 1 and not sender.status()[0]["down"]


@pytest.mark.parametrize("status", [302, 400, 404])
async def test_a_refused_alarm_is_a_dead_letter_and_comes_back_by_replay(
    receiver: Any, make: Any, until: Any, status: int
) -> None:
    receiver.statuses = [status]
    sender = make()
    sender.push(UID, EVENT)
    await until(lambda: sender.counts["refused"] == 1)
    assert [path for path, _, _ in receiver.got] == ["/s3cr3t?k=1"]
    letter = sender.dead()[0]
    assert (letter.reason, letter.row.uid, sender.queued) == (f"status {status}", UID, 0)
    assert sender.replay(sink="other") == 0 and sender.replay(ids=["msg_none"]) == 0
    assert sender.replay(uid=UID, ids=[letter.row.id]) == 1
    await until(lambda: sender.counts["sent"] == 1)
    assert sender.dead() == []
    assert receiver.got[1][1]["webhook-id"] == letter.row.id


async def test_alarms_too_old_become_dead_letters(make: Any, until: Any) -> None:
    now = [1_700_000_000.0]
    sender = make({WEBHOOK: Sink(WEBHOOK, NOBODY)}, max_age=lambda: 60.0, times={"wall": lambda: now[0]})
    sender.push(UID, EVENT)
    await until(lambda: sender.counts["retried"] >= 1)
    now[0] += 61
    await until(lambda: sender.counts["dead"] == 1)
    assert sender.queued == 0 and sender.dead()[0].reason.startswith("too old")


async def test_what_waits_survives_the_sender(receiver: Any, make: Any, until: Any) -> None:
    sender = make({WEBHOOK: Sink(WEBHOOK, NOBODY)})
    for number in range(3):
        sender.push(UID, {"channelId": str(number)})
    await until(lambda: sender.counts["retried"] >= 1)
    await sender.close(0)
    again = make()
    await until(lambda: again.counts["sent"] == 3)
    assert receiver.numbers(UID) == ["0", "1", "2"]


async def test_sinks_with_filters_stand_alone(receiver: Any, make: Any, until: Any) -> None:
    sinks = {
        "down": Sink("down", NOBODY),
        "people": Sink("people", receiver.url, filter=Filter(types=frozenset({"people"}))),
        "other": Sink("other", receiver.url, filter=Filter(frozenset({OTHER}), frozenset({"MD"}))),
    }
    sender = make(sinks)
    sender.push(UID, EVENT)
    sender.push(UID, {"status": "MD", "AItype": "vehicle"})
    sender.push(OTHER, {"status": "MD"})
    sender.push(OTHER, {"status": "blind"})
    await until(lambda: sender.counts["sent"] == 2)
    told = {sink["name"]: sink for sink in sender.status()}
    assert told["people"]["counts"]["sent"] == told["other"]["counts"]["sent"] == 1
    assert told["down"]["waiting"] == 4
    assert told["people"]["address"] == f"http://127.0.0.1:{receiver.port}/***"
    del sinks["down"]
    await until(lambda: sender.counts["dead"] == 4)


async def test_queues_are_bounded_and_lose_the_oldest(
    receiver: Any, make: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "PER_DEVICE", 3)
    monkeypatch.setattr(bounds, "IN_ALL", 5)
    receiver.gate = asyncio.Event()
    sender = make()
    for number in range(10):
        sender.push(UID, {"channelId": str(number)})
    for name in "abc":
        sender.push(OTHER, {"channelId": name})
    assert sender.queued == 5
    assert sender.counts["dropped"] == 8
    receiver.gate.set()
    await until(lambda: sender.queued == 0)
    assert receiver.numbers(UID)[-2:] == ["8", "9"]
    assert receiver.numbers(OTHER) == ["a", "b", "c"]


async def test_a_flood_of_one_device_delays_nobody(receiver: Any, make: Any, until: Any) -> None:
    sender = make(times={"monotonic": lambda: 5.0})
    for number in range(1000):
        sender.push(UID, {"channelId": str(number)})
    sender.push(OTHER, EVENT)
    assert sender.dropped == {"flood": 1000 - bounds.BURST}
    await until(lambda: bool(receiver.numbers(OTHER)))
    first = next(number for number, (_, _, body) in enumerate(receiver.got) if OTHER.encode() in body)
    assert first < 10


def test_the_bucket_of_a_device_fills_again() -> None:
    flood = FloodLimiter()
    assert sum(flood.admit(UID, 0.0) for _ in range(500)) == bounds.BURST
    assert flood.admit(OTHER, 0.0)
    assert sum(flood.admit(UID, 2.0) for _ in range(500)) == 2 * bounds.RATE


async def test_alarms_switched_off(receiver: Any, make: Any) -> None:
    sender = make({})
    sender.push(UID, EVENT)
    assert sender.queued == 0
    assert receiver.got == []


async def test_the_address_is_in_no_log(receiver: Any, make: Any, until: Any, log_lines: Any) -> None:
    for number, url in enumerate((receiver.url, NOBODY, "nonsense s3cr3t", "ftp://h/s3cr3t")):
        sender = make({WEBHOOK: Sink(WEBHOOK, url)}, name=f"{number}.db")
        sender.push(UID, EVENT)
        await until(lambda sender=sender: sum(sender.counts.values()) > 0)
        assert "s3cr3t" not in repr(sender.status()) + repr(Sink("x", url))
        await sender.close(0)
    assert '"action":"alarm-sent"' in log_lines() and '"action":"alarm-failed"' in log_lines()
    assert "s3cr3t" not in log_lines()


async def test_closing_leaves_no_task(receiver: Any, make: Any, until: Any) -> None:
    before = asyncio.all_tasks()
    receiver.gate = asyncio.Event()
    sender = make()
    sender.push(UID, EVENT)
    await until(lambda: len(receiver.got) == 1)
    await sender.close(0.05)
    sender.push(UID, EVENT)
    assert {task for task in asyncio.all_tasks() - before if "_turn" in repr(task)} == set()
    assert sender.queued == 1


def test_a_file_that_is_no_queue_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "alarms.db"
    path.write_bytes(b"no database" * 1000)
    queue = AlarmQueue(path)
    queue.put(["a"], UID, "msg_1", 1.0, b"{}")
    queue.sync()
    assert queue.lanes() == [("a", UID, 1)]
    assert path.with_name("alarms.db.broken").exists()
    queue.close()


@pytest.mark.parametrize(
    "url, shown",
    [
        ("https://hooks.example.net:8443/a?key=1", "https://hooks.example.net:8443/***"),
        ("https://user:pw@h/a", "https://h/***"),
        ("http://[2001:db8::1]/x", "http://[2001:db8::1]/***"),
        ("ftp://h/a", "***"),
        ("http://h:port/", "***"),
    ],
)
def test_addresses_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_keys() -> None:
    assert len(key_bytes(new_key())) == 32
    for bad in ("whsec_%%%", "c2hvcnQ="):
        with pytest.raises(ValueError, match="signing key") as refusal:
            key_bytes(bad)
        assert bad not in str(refusal.value)


def test_what_a_status_means() -> None:
    assert outcome_of(204).result == "Sent" and outcome_of(410).result == "Refused"
    assert outcome_of(429, "7").retry_after == 7.0 and outcome_of(503, "soon").retry_after is None
    assert outcome_of(503, "99999").retry_after == webhook.MAX_RETRY_AFTER_S


def test_backoff_doubles_up_to_its_limit() -> None:
    backoff = Backoff(1, 60)
    for failures, base in [(1, 1), (2, 2), (4, 8), (7, 60), (5000, 60)]:
        assert base <= backoff.delay(failures) <= base * 1.25
