"""Peers with a wrong, borrowed or abused identity. Source: discrepancies C2.4, C2.5, C2.8; device-protocol 2.3."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rop_pki.authority import Authority, create_intermediate, create_root
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.packet import Packet

UID = "95270000000TEST1"
VICTIM = "95270000000FRND1"


@pytest.fixture
async def victim(new_camera: Any) -> Any:
    """A camera that is online before the trouble begins; its connection as `line`."""
    camera = await new_camera(VICTIM)
    camera.line = await camera.signaling()
    return camera


async def _still_well(site: Any, victim: Any) -> None:
    assert (await victim.line.ask(Command.HEARTBEAT)).status == 200
    assert [each.uid for each in site.devices.online()] == [VICTIM]
    assert site.facts.of("disconnected") == []


def _certificate(kind: str, authority: Authority) -> tuple[bytes, bytes, str]:
    """Chain, key and the TLS alert it earns."""
    now = datetime.now(UTC)
    if kind == "server":
        made = authority.server_certificate(90, 30, now)
        return made.chain_pem, made.key_pem, ""
    if kind == "expired":
        made = authority.device_certificate(VICTIM, 30, now - timedelta(days=60))
        return made.chain_pem, made.key_pem, "CERTIFICATE_EXPIRED"
    if kind == "no UID":
        made = authority.device_certificate("../../etc/passwd", 30, now)
        return made.chain_pem, made.key_pem, ""
    root_key, root = create_root(now)
    e1_key, e1 = create_intermediate(root_key, root, "127.0.0.1", now)
    made = Authority(root, e1, e1_key, "127.0.0.1").device_certificate(VICTIM, 30, now)
    return made.chain_pem, made.key_pem, "UNKNOWN_CA"


@pytest.mark.parametrize("port", ["registerHttps", "signalingTLS", "streamTLS"])
@pytest.mark.parametrize("kind", ["other root", "expired", "server", "no UID"])
async def test_certificates_that_are_none(
    site: Any, wire: Any, victim: Any, authority: Authority, tmp_path: Path, kind: str, port: str
) -> None:
    chain, key, alert = _certificate(kind, authority)
    context = wire.camera_context(site.root_pem, chain.decode(), key.decode(), tmp_path)
    said = b""
    error: Exception | None = None
    try:
        said = await wire.https(site.ports[port], wire.post("/v1.0/devices/registration", b"{}"), context)
    except (ssl.SSLError, ConnectionError) as failure:
        error = failure
    assert said == b""
    assert alert in str(error)
    await site.until(lambda: site.net.gate.open == 0 and len(site.hub.open) == 1)
    assert site.facts.of("registered") == [(VICTIM, "127.0.0.1")]
    await _still_well(site, victim)


@pytest.mark.parametrize("transport", ["signaling", "keep_alive"])
async def test_second_connection_without_handshake_leaves_the_first(
    site: Any, victim: Any, transport: str
) -> None:
    """A connection that stops before its handshake does not replace the one that is online."""
    second = await getattr(victim, transport)(hello=False)
    await site.until(lambda: len(site.hub.open) == 2)
    await _still_well(site, victim)
    site.time.shift = 9.0
    await _still_well(site, victim)
    site.time.shift = 45.0
    await victim.line.ask(Command.HEARTBEAT)
    await asyncio.wait_for(second.ended.wait(), 8)
    await _still_well(site, victim)


@pytest.mark.parametrize("transport", ["signaling", "keep_alive"])
async def test_handshake_of_another_is_refused(site: Any, victim: Any, new_camera: Any, transport: str) -> None:
    thief = await (await new_camera(UID)).__getattribute__(transport)(hello=False)
    thief.send(Packet(0, Command.HANDSHAKE, 1, 200, messages.Handshake(VICTIM).encode()))
    await asyncio.wait_for(thief.ended.wait(), 8)
    await _still_well(site, victim)


async def test_replayed_hello_and_packets(site: Any, victim: Any) -> None:
    """What was recorded of a connection on 61003 is of no use on another: the server's nonce is fresh."""
    recorded = bytearray()
    link = await victim.keep_alive(hello=False)
    hello = link.channel.hello()
    write = link.writer.write

    def record(data: bytes) -> None:
        recorded.extend(data)
        write(data)

    link.writer.write = record
    await link.handshake(VICTIM, family="powered")
    await link.close()
    await site.until(lambda: len(site.hub.open) == 1)
    told = len(site.facts.told)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.ports["keepAliveTCP"])
    writer.write(hello + recorded)
    with contextlib.suppress(ConnectionError):
        # The hello is right, as it was signed, and may be answered; what follows decrypts to noise.
        assert len(await asyncio.wait_for(reader.read(), 8)) in (0, 100)
    writer.close()
    await site.until(lambda: len(site.hub.open) == 1)
    assert [each[0] for each in site.facts.told[told:]] in ([], ["heartbeat"])
    assert (await victim.line.ask(Command.HEARTBEAT)).status == 200


async def test_replayed_packet_in_its_own_connection(site: Any, new_camera: Any, victim: Any) -> None:
    link = await (await new_camera(UID)).keep_alive()
    beat = link.encode(Packet(0, Command.HEARTBEAT, 1, 200, messages.Heartbeat().encode()))
    link.writer.write(beat + beat)
    await asyncio.wait_for(link.ended.wait(), 8)
    assert "sequence" in site.facts.of("disconnected")[0][3]
    assert (await victim.line.ask(Command.HEARTBEAT)).status == 200


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY c "&a;&a;&a;&a;&a;&a;&a;&a;">]><b>&c;</b>'
)


@pytest.mark.parametrize(
    "payload",
    [BOMB, b"<a>" * 2000, b"\xff" * 60_000, b"<body>"],
    ids=["entities", "depth", "noise", "open"],
)
@pytest.mark.parametrize("command", [Command.HANDSHAKE, Command.ALARM])
async def test_documents_that_are_attacks(
    site: Any, victim: Any, new_camera: Any, payload: bytes, command: int
) -> None:
    link = await (await new_camera(UID)).signaling(hello=False)
    link.send(Packet(0, command, 1, 200, payload))
    await asyncio.wait_for(link.ended.wait(), 8)
    assert site.facts.of("alarm") == []
    await _still_well(site, victim)


@pytest.mark.parametrize("length", [1024 * 1024 + 1, 2**31, 2**32 - 1])
async def test_media_packet_of_any_length(site: Any, wire: Any, victim: Any, new_camera: Any, length: int) -> None:
    camera = await new_camera(UID)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", site.ports["streamTLS"], ssl=camera.context, server_hostname="127.0.0.1"
    )
    writer.write(struct.pack("<6I", 0, Command.LIVE_START, length, 1, 200, 0) + bytes(1000))
    assert await asyncio.wait_for(reader.read(), 8) == b""
    writer.close()
    await site.until(lambda: len(site.hub.open) == 1)
    await _still_well(site, victim)
