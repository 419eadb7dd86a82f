"""Limits before TLS and hello, slow peers, addresses. Source: discrepancies C2.8."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from dataclasses import replace
from typing import Any

import pytest

from rop_server.core import hub
from rop_server.net.listener import PortInUse, open_socket, port_error
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.encrypted import DeviceChannel, Policy
from rop_wire.packet import Packet

UID = "95270000000TEST1"


async def test_too_many_from_one_address_are_dropped(site: Any) -> None:
    site.net.gate._limit = 2
    port = site.ports["signalingTLS"]
    pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    assert await asyncio.wait_for(pairs[2][0].read(), 8) == b""
    assert site.net.gate.open == 2
    for _, writer in pairs:
        writer.close()
    await site.until(lambda: site.net.gate.open == 0)


@pytest.mark.parametrize("port", ["keepAliveTCP", "streamTCP", "signalingTLS", "streamTLS"])
async def test_one_device_has_so_many_connections(
    site: Any, new_camera: Any, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    """One more is closed at once; those that were there, and other devices, do not notice."""
    monkeypatch.setattr(hub, "CONNECTIONS_OF_DEVICE", 3)
    camera, other = await new_camera(), await new_camera("95270000000TEST2")
    line = await camera.signaling()

    async def connect(of: Any) -> asyncio.StreamReader:
        tls = {"ssl": of.context, "server_hostname": "127.0.0.1"} if port.endswith("TLS") else {}
        reader, writer = await asyncio.open_connection("127.0.0.1", site.ports[port], **tls)
        writers.append(writer)
        if not tls:
            writer.write(DeviceChannel(of.keys.access_key, of.keys.secret_access_key, bytes(32)).hello())
            await asyncio.wait_for(reader.readexactly(100), 8)
        return reader

    writers: list[asyncio.StreamWriter] = []
    await connect(camera)
    await connect(camera)
    assert await asyncio.wait_for((await connect(camera)).read(), 8) == b""
    await connect(other)
    assert (await line.ask(Command.HEARTBEAT)).status == 200
    await site.until(lambda: len(site.hub.open) == 4)
    for writer in writers:
        writer.transport.abort()
    await site.until(lambda: len(site.hub.open) == 1)
    await connect(camera)
    await site.until(lambda: len(site.hub.open) == 2)
    assert sum(site.hub._of_device.values()) == 2
    for writer in writers:
        writer.transport.abort()


async def test_full_gate_lets_others_wait(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    await site.until(lambda: site.net.gate.open == 0)
    site.net.gate._total = 1
    _, blocker = await asyncio.open_connection("127.0.0.1", site.ports["keepAliveTCP"])
    await site.until(lambda: site.net.gate.full)
    waiting = asyncio.create_task(camera.signaling())
    site.time.shift = 10.5  # the one without a hello has to go, then the camera comes in
    link = await asyncio.wait_for(waiting, 8)
    assert (await link.ask(Command.HEARTBEAT)).status == 200
    blocker.close()


async def test_slow_request_is_ended(site: Any, wire: Any) -> None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", site.ports["getCertHttps"], ssl=wire.lax_context(), server_hostname="x"
    )
    writer.write(b"POST /v1.0/devices/credetials HTTP/1.1\r\nContent-Length: 50\r\n\r\n{")
    await site.until(lambda: site.net.connections == 1)
    site.time.shift = 9.0
    await asyncio.sleep(0)
    assert site.net.connections == 1
    site.time.shift = 10.5
    assert await asyncio.wait_for(reader.read(), 8) == b""
    writer.close()
    await site.until(lambda: site.net.connections == 0 and site.net.gate.open == 0)


async def test_handshake_on_61003_is_limited_after_the_hello(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).keep_alive(hello=False)
    await link.ask(Command.HEARTBEAT, messages.Heartbeat().encode())  # no substitute for a handshake
    site.time.shift = 10.5
    await asyncio.wait_for(link.ended.wait(), 8)
    assert site.facts.of("heartbeat") == []


async def test_too_long_packet_ends_the_connection(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).signaling()
    header = bytearray(Packet(0, Command.HEARTBEAT, 1).encode())
    header[8:12] = (0x80000000).to_bytes(4, "little")
    link.writer.write(header)
    await asyncio.wait_for(link.ended.wait(), 8)
    assert "core packet of" in site.facts.of("disconnected")[0][3]


async def test_peer_that_does_not_read_is_not_read_from(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    link = await camera.signaling()
    link.writer.transport.pause_reading()
    beat = Packet(0, Command.HEARTBEAT, 1).encode()
    (line,) = site.hub.open
    for _ in range(400):
        link.writer.write(beat * 2000)
        await asyncio.sleep(0)
        if link.writer.transport.get_write_buffer_size() > 1_000_000:
            break
    await site.until(lambda: link.writer.transport.get_write_buffer_size() > 500_000)
    assert line._transport.get_write_buffer_size() < 8_000_000
    site.time.shift = 41.0
    await site.until(lambda: site.devices.link(UID) is None)
    link.writer.transport.abort()
    await site.until(lambda: site.net.connections == 0)


@pytest.fixture
def reporting(settings: Any) -> Any:
    return replace(settings, integrity=Policy.REPORT)


async def test_report_counts_instead_of_refusing(site: Any, new_camera: Any, reporting: Any) -> None:
    site.hub.settings = replace(reporting, ports=site.settings.ports)
    link = await (await new_camera()).keep_alive()
    raw = bytearray(link.encode(Packet(0, Command.HEARTBEAT, 1001, 200, b"")))
    raw[-1] ^= 1
    link.writer.write(raw)
    await link.ask(Command.HEARTBEAT)
    (line,) = site.hub.open
    assert line._channel.findings["mac"] == 1


async def test_call_on_a_newer_keep_alive_connection(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    first = await camera.keep_alive()
    first.answers[Command.WAKE_UP] = None
    call = asyncio.create_task(site.devices.call(UID, messages.GeneralConfigGet()))
    await site.until(lambda: any(p.command == Command.WAKE_UP for p in first.seen))
    second = await camera.keep_alive(hello=False)
    second.answers[Command.WAKE_UP] = messages.EMPTY_DOCUMENT
    await second.handshake(UID, family="battery")
    await site.until(lambda: any(p.command == Command.WAKE_UP for p in second.seen))
    line = await camera.signaling(hello=False)
    line.answers[Command.GET_GENERAL] = messages.GeneralConfig("Gate").encode()
    await line.handshake(UID, family="battery")
    assert await call
    assert site.facts.of("woken") == [(UID,)]


def test_every_address_includes_ipv6() -> None:
    sock = open_socket(None, 0, "ports.signalingTLS")
    port = sock.getsockname()[1]
    try:
        hosts = ["127.0.0.1", "::1"] if sock.family == socket.AF_INET6 else ["127.0.0.1"]
        for host in hosts:
            socket.create_connection((host, port)).close()
    finally:
        sock.close()


def test_port_errors_say_which_and_why() -> None:
    with socket.socket() as blocker:
        blocker.bind(("127.0.0.1", 0))
        blocker.listen()
        port = blocker.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"port {port} \(ports\.x\) is in use by process {os.getpid()}"):
            open_socket("127.0.0.1", port, "ports.x")
    denied = port_error(80, "ports.x", OSError(errno.EACCES, "Permission denied"))
    assert str(denied) == "port 80 (ports.x) cannot be opened: Permission denied"
