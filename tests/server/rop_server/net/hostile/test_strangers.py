"""Peers without an identity: idle, slow, half open, loud. Each is refused cheaply, and nobody else notices.

Source: discrepancies C2.8.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
from typing import Any

import pytest

from rop_server.net import listener
from rop_server.net.lines import KeepAliveLine
from rop_server.net.streams import StreamTcpLine
from rop_wire.commands import Command

PLAIN = ("keepAliveTCP", "streamTCP")
TLS = ("getCAHttps", "getCertHttps", "registerHttps", "signalingTLS", "streamTLS")
CLIENT_HELLO_HEAD = b"\x16\x03\x01\x02\x00\x01"


@pytest.fixture
async def friend(new_camera: Any) -> Any:
    """A camera that is online before the trouble begins."""
    return await (await new_camera("95270000000FRND1")).signaling()


async def _still_well(site: Any, friend: Any) -> None:
    """The camera is served, nothing was told about anybody else."""
    assert (await friend.ask(Command.HEARTBEAT)).status == 200
    assert [each.uid for each in site.devices.online()] == ["95270000000FRND1"]
    assert site.facts.of("disconnected") == []


async def _ended(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await asyncio.wait_for(reader.read(65536), 8):
            pass


async def _drip(site: Any, port: str, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.ports[port])
    writer.write(data)
    return reader, writer


@pytest.mark.parametrize("port", PLAIN)
async def test_a_hello_in_drops_has_ten_seconds_in_all(site: Any, friend: Any, port: str) -> None:
    reader, writer = await _drip(site, port, b"\x64\x00")
    await site.until(lambda: len(site.hub.open) == 2)
    for shift in (4.0, 8.0):
        site.time.shift = shift
        writer.write(b"\x00")
    assert site.net.gate.open == 1
    site.time.shift = 10.5
    await _ended(reader)
    writer.close()
    await site.until(lambda: site.net.gate.open == 0)
    await _still_well(site, friend)


@pytest.mark.parametrize("port", TLS)
async def test_a_tls_handshake_in_drops_is_ended(
    site: Any, friend: Any, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "TLS_HANDSHAKE_LIMIT", 0.3)
    reader, writer = await _drip(site, port, CLIENT_HELLO_HEAD)
    await site.until(lambda: site.net.gate.open == 1)
    await _ended(reader)
    writer.close()
    await site.until(lambda: site.net.gate.open == 0)
    await _still_well(site, friend)


@pytest.mark.parametrize("port", PLAIN + TLS)
async def test_half_open_and_reset(site: Any, friend: Any, port: str) -> None:
    """One that sends its end at once, one that resets in the middle."""
    reader, writer = await _drip(site, port, b"")
    writer.write_eof()
    await _ended(reader)
    writer.close()
    reader, writer = await _drip(site, port, b"\x16\x03")
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()
    await site.until(lambda: site.net.gate.open == 0)
    await _still_well(site, friend)


@pytest.mark.parametrize("port", PLAIN + TLS)
async def test_noise_on_every_port(site: Any, friend: Any, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "TLS_HANDSHAKE_LIMIT", 0.5)  # noise may look like the head of a long record
    rng = random.Random(port)

    async def noise() -> None:
        reader, writer = await _drip(site, port, rng.randbytes(rng.randrange(100, 4000)))
        await _ended(reader)
        writer.close()

    await asyncio.gather(*(noise() for _ in range(40)))
    await site.until(lambda: site.net.gate.open == 0)
    await _still_well(site, friend)


async def test_idle_crowd_of_one_address_is_cut_at_its_limit(site: Any, friend: Any) -> None:
    """1,100 idle connections of one address: 1,024 are kept for ten seconds, none costs more than its socket."""
    loop = asyncio.get_running_loop()
    before = _lines()
    crowd = []
    for number in range(1100):
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind(("127.0.0.2", 0))
        await loop.sock_connect(sock, ("127.0.0.1", site.ports[PLAIN[number % 2]]))
        crowd.append(sock)
    await site.until(lambda: site.net.gate.open == 1024)
    await _still_well(site, friend)
    assert _lines() == before
    site.time.shift = 10.5
    await site.until(lambda: site.net.gate.open == 0)
    for sock in crowd:
        assert await asyncio.wait_for(loop.sock_recv(sock, 1), 8) == b""
        sock.close()
    await _still_well(site, friend)


async def test_idle_crowd_of_many_addresses_leaves_places(site: Any, friend: Any, new_camera: Any) -> None:
    """However many they are, a camera from elsewhere comes in while they still sit there."""
    loop = asyncio.get_running_loop()
    late = await new_camera("95270000000LATE1")
    await site.until(lambda: site.net.gate.open == 0)
    site.net.gate._total = 84
    crowd = []
    for number in range(400):
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((f"127.0.1.{number % 20 + 1}", 0))
        await loop.sock_connect(sock, ("127.0.0.1", site.ports[PLAIN[number % 2]]))
        crowd.append(sock)
    await site.until(lambda: site.net.gate.open == 80)
    assert (await (await late.signaling()).ask(Command.HEARTBEAT)).status == 200
    assert site.net.gate.open == 80
    for sock in crowd:
        sock.close()
    await site.until(lambda: site.net.gate.open == 0)


def _lines() -> int:
    gc.collect()
    return sum(isinstance(each, KeepAliveLine | StreamTcpLine) for each in gc.get_objects())


@pytest.mark.parametrize("port", ["getCAHttps", "getCertHttps"])
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 4000 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 70000\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"fffff\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n", 400),
    ],
    ids=["target", "headers", "body", "huge", "chunk", "smuggled"],
)
async def test_oversize_http(site: Any, wire: Any, friend: Any, port: str, request_: bytes, status: int) -> None:
    answer = await wire.https(site.ports[port], request_, wire.lax_context())
    assert wire.split(answer)[0] == status
    await site.until(lambda: site.net.gate.open == 0)
    await _still_well(site, friend)
