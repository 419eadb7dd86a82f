"""Raw paths, unknown calls, connection rules, limits. Source: ROP v1.0 wire specification, client-api 1."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from rop_server.client import exchange
from rop_server.client import listener as listener_module
from rop_wire.commands import Command

UID = "95270000000TEST1"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("GET", "/v1.0/Devices"),
        ("GET", "/v1.0//devices"),
        ("GET", "//v1.0/devices"),
        ("GET", "/v1.0/devices//"),
        ("GET", "/v1.0/./devices"),
        ("GET", "/v1.0/x/../devices"),
        ("GET", "/v1.0/device%73"),
        ("GET", "/v1.0/devices%2f"),
        ("GET", "/v1.0/devices%0a"),
        ("GET", f"/v1.0/devices/{UID}"),
        ("GET", "/v1.0/devices//settings/alarm"),
        ("GET", f"/v1.0/devices/{UID}/settings/alarm//"),
        ("GET", "http://x/v1.0/devices"),
        ("POST", "/v1.0/devices"),
        ("HEAD", "/v1.0/devices"),
        ("OPTIONS", "/v1.0/devices"),
        ("OPTIONS", "*"),
        ("PATCH", f"/v1.0/devices/{UID}/settings/alarm"),
        ("PURGE", "/v1.0/devices"),
        ("GET", "/signal"),
        ("POST", "/v1.0/rtsp/on-connect"),
    ],
)
async def test_unknown_calls(client: Any, method: str, target: str) -> None:
    answer = await client(method, target)
    assert answer.status_line == "HTTP/1.1 404 NOT FOUND"
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    if method != "HEAD":
        assert answer.body == b'{"message":"resource not found."}'


@pytest.mark.parametrize(
    "data",
    [
        b"BREW /v1.0/devices HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1.0/devices HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /v1.0/devices/initialization-session HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(300)) + b"\r\n",
    ],
)
async def test_what_is_not_http_is_refused_and_serving_goes_on(client: Any, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.listener.port)
    writer.write(data)
    try:
        told = await asyncio.wait_for(reader.read(65536), 10)
    except ConnectionResetError:
        told = b""
    assert told == b"" or told.split(b" ")[1] in {b"400", b"404", b"431"}
    assert b"Traceback" not in told
    writer.close()
    assert (await client("GET", "/v1.0/devices")).status == 200


async def test_no_trace_of_the_software(client: Any) -> None:
    assert type(asyncio.get_running_loop()).__module__ == "uvloop", "the loop the server runs on"
    answer = await client("GET", "/v1.0/devices")
    assert answer.headers["server"] == "rop-server"
    assert "access-control-allow-origin" not in answer.headers


async def test_a_connection_is_kept_for_the_next_call(client: Any) -> None:
    request = b"GET /v1.0/devices HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", client.listener.port)
    for _ in range(3):
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 200 OK")
        await reader.readexactly(len(b'{"totalRows":0,"items":[]}'))
    writer.close()


async def test_idle_connections_are_dropped_without_an_answer(
    client: Any, devices: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "IDLE_S", 0.5)
    device = devices.connect(UID)
    started = asyncio.Event()
    cancelled = asyncio.Event()

    async def hangs(*_arguments: object, **_options: object) -> bytes:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    devices.call = hangs
    assert device.asked == []
    silent = await asyncio.open_connection("127.0.0.1", client.listener.port)
    hanging = await asyncio.open_connection("127.0.0.1", client.listener.port)
    half = await asyncio.open_connection("127.0.0.1", client.listener.port)
    hanging[1].write(b"GET /v1.0/devices/%s/settings/alarm HTTP/1.1\r\nHost: x\r\n\r\n" % UID.encode())
    half[1].write(b"GET /v1.0/dev")
    await asyncio.wait_for(started.wait(), 5)
    began = time.monotonic()
    for reader, writer in (silent, hanging, half):
        try:
            assert await asyncio.wait_for(reader.read(1), 10) == b""
        except ConnectionResetError:
            assert time.monotonic() - began < 10
        writer.close()
    await asyncio.wait_for(cancelled.wait(), 5)
    assert client.listener.connections == 0


async def _drip(writer: asyncio.StreamWriter, ended: asyncio.Task[bytes]) -> None:
    """A byte now and again, until the server has had enough."""
    while not ended.done():
        writer.write(b"a")
        await asyncio.wait([ended], timeout=0.1)


async def _end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_a_head_that_drips_has_its_time(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the idle limit, which every byte moves; whoever asks in between is served."""
    monkeypatch.setattr(listener_module, "HEAD_S", 0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.listener.port)
    request = b"GET /v1.0/devices HTTP/1.1\r\nHost: x\r\n\r\n"
    writer.write(request)
    await reader.readuntil(b"[]}")
    writer.write(b"GET /v1.0/dev")
    ended = asyncio.create_task(_end(reader))
    await asyncio.wait_for(_drip(writer, ended), 20)
    assert await ended == b""
    writer.close()
    assert (await client("GET", "/v1.0/devices")).status == 200


async def test_a_body_that_drips_has_its_time(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BODY_S", 0.5)
    head = b"POST /v1.0/devices/initialization-session HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", client.listener.port)
    writer.write(head)
    answered = asyncio.create_task(reader.readuntil(b'"invalid_parameter"'))
    await asyncio.wait_for(_drip(writer, answered), 20)
    assert (await answered).startswith(b"HTTP/1.1 400")
    writer.close()


async def test_too_many_connections_are_refused(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "MAX_CONNECTIONS", 1)
    _, first = await asyncio.open_connection("127.0.0.1", client.listener.port)
    deadline = time.monotonic() + 5
    while client.listener.connections < 1 and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    reader, second = await asyncio.open_connection("127.0.0.1", client.listener.port)
    try:
        assert await asyncio.wait_for(reader.read(1), 5) == b""
    except ConnectionResetError:
        assert client.listener.connections == 1
    for writer in (first, second):
        writer.close()


async def test_a_stop_lets_a_running_call_end(client: Any, devices: Any) -> None:
    devices.connect(UID)
    original, gate, started = devices.call, asyncio.Event(), asyncio.Event()

    async def waits(uid: str, request: Any, **options: Any) -> bytes:
        started.set()
        await gate.wait()
        answer: bytes = await original(uid, request, **options)
        return answer

    devices.call = waits
    call = asyncio.create_task(client("GET", f"/v1.0/devices/{UID}/settings/alarm"))
    await asyncio.wait_for(started.wait(), 5)
    stop = asyncio.create_task(client.listener.stop(10))
    await asyncio.sleep(0)
    gate.set()
    assert (await call).body == b'{"enabled":false}'
    await asyncio.wait_for(stop, 5)
    assert devices.devices[UID].asked == [Command.GET_ALARM_SWITCH]
