"""A whole server in this process: live configuration, facts, hostile input."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import ssl
from datetime import UTC, datetime
from typing import Any

import pytest

from rop_data.config import ConfigError
from rop_server import logs
from rop_server.app import running
from rop_server.control import upgrade_limits
from rop_wire import messages
from rop_wire.commands import Command

UID = "95270000000TEST1"


def events(server: Any) -> list[str]:
    return [event.type for event in server.book.journal._events]


async def test_facts_reach_the_book(server: Any, camera: Any) -> None:
    line = await camera.signaling()
    document = server.book.document(UID)
    assert document["state"] == "Online" and document["model"] == "RLC-1"
    issued = document["certificate"]
    assert issued["by"] == "ShortCode"
    assert server.devices.link(UID).certificate_serial == issued["serial"]
    await line.close()


def addresses(server: Any) -> dict[str, str]:
    """Where the client ports listen."""
    services = {"clientHttp": server.client, "clientRtsp": server.rtsp}
    return {name: each._server.sockets[0].getsockname()[0] for name, each in services.items()}


async def test_client_ports_of_a_new_site_are_on_loopback(server: Any) -> None:
    assert addresses(server) == {"clientHttp": "127.0.0.1", "clientRtsp": "127.0.0.1"}


async def test_client_ports_of_an_adopted_site_stay_where_the_vendor_has_them(directory: Any) -> None:
    """61009 on every IPv4 address, 61008 on every address; what rop.json says later counts."""
    directory.configure()
    (directory.path / "rop.json").unlink()  # a directory of the vendor's server has none
    every = "::" if has_ipv6() else "0.0.0.0"
    async with running(directory.path, "127.0.0.1") as server:
        assert addresses(server) == {"clientHttp": "0.0.0.0", "clientRtsp": every}
        for host in ("127.0.0.1", *(["::1"] if has_ipv6() else [])):
            reader, writer = await asyncio.open_connection(host, directory.numbers["clientRtsp"])
            writer.write(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"RTSP/1.0 200")
            writer.close()
        await server.control.apply({"rop.clientBind": "127.0.0.1"})
    async with running(directory.path, "127.0.0.1") as server:
        assert addresses(server) == {"clientHttp": "127.0.0.1", "clientRtsp": "127.0.0.1"}


def has_ipv6() -> bool:
    """Whether this machine has IPv6 switched on."""
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


async def test_live_members_are_in_force_at_once(server: Any, camera: Any) -> None:
    line = await camera.signaling()
    line.answers[Command.GET_PIR] = None
    result = await server.control.apply(
        {"timeout.signalingExec": 300, "heartBeatInterval": 7, "ports.clientHttp": 6, "wifiSessionTTL": 600}
    )
    assert result.applied == ("timeout.signalingExec", "heartBeatInterval", "wifiSessionTTL")
    assert result.restart == ("ports.clientHttp",)
    assert list(server.control.pending_restart) == ["ports.clientHttp"]
    assert server.ready()["clientHttp"]
    assert (await camera.register()).heartbeat_interval_s == 7
    with pytest.raises(Exception, match="cmd_timeout"):
        await asyncio.wait_for(server.devices.call(UID, messages.PirGet()), 5)
    again = await server.control.apply({"heartBeatInterval": 7})
    assert again.unchanged == ("heartBeatInterval",)
    assert server.control.file_changed is False


async def test_bad_patch_changes_nothing(server: Any, directory: Any) -> None:
    before = (directory.path / "config.json").read_bytes()
    with pytest.raises(ConfigError, match=r"timeout\.socket"):
        await server.control.apply({"heartBeatInterval": 9, "timeout.socket": "long"})
    with pytest.raises(ConfigError):
        await server.control.apply({"nonsense.member": 1})
    assert (directory.path / "config.json").read_bytes() == before
    assert server.hub.settings.heartbeat_interval_s == 20


async def test_hand_edit_is_noticed_and_taken_on_demand(server: Any, directory: Any, until: Any) -> None:
    path = directory.path / "config.json"
    raw = json.loads(path.read_text())
    raw["heartBeatInterval"] = 33
    raw["ours"] = {"kept": True}
    path.write_text(json.dumps(raw))
    await until(lambda: server.control.file_changed)
    assert server.hub.settings.heartbeat_interval_s == 20
    result = await server.control.reload()
    assert result.applied == ("heartBeatInterval",)
    assert server.hub.settings.heartbeat_interval_s == 33
    assert not server.control.file_changed
    await server.control.apply({"heartBeatInterval": 34})
    assert json.loads(path.read_text())["ours"] == {"kept": True}


async def test_a_reload_takes_every_kind_of_live_member_and_drops_nobody(
    server: Any, camera: Any, directory: Any
) -> None:
    """Receivers of alarms, limits, time-outs, stream mode, key index, log level; a port waits and is named."""
    line = await camera.signaling()
    reader, writer = await asyncio.open_connection("127.0.0.1", directory.numbers["clientRtsp"])
    path = directory.path / "config.json"
    raw = json.loads(path.read_text())
    raw["alarm"] |= {"enabled": True, "notificationURL": "http://127.0.0.1:1/new"}
    raw["upgrade"]["maxSession"] = 30
    raw["timeout"]["signalingExec"] = 3000
    raw["deviceStream"]["encryptMode"] = "TCP"
    raw["deviceAuth"]["deviceKeys"]["NEWINDEX00000001"] = "n" * 32
    raw["deviceAuth"]["currentKeyIndex"] = "NEWINDEX00000001"
    raw["logs"]["subjects"]["default"]["levels"] = ["error"]
    raw["ports"]["streamTCP"] = 6
    path.write_text(json.dumps(raw))
    await server.reload()
    told = server.book.journal.since(1, server.book.journal.epoch)[-1].data
    assert told["restart"] == ["ports.streamTCP"]
    assert set(told["applied"]) == {
        *("alarm.enabled", "alarm.notificationURL", "upgrade.maxSession", "timeout.signalingExec"),
        *("deviceStream.encryptMode", "deviceAuth.deviceKeys", "deviceAuth.currentKeyIndex", "logs.subjects"),
    }
    assert server.roster.sinks["webhook"].url == "http://127.0.0.1:1/new"
    assert upgrade_limits(server.control.effective).sessions == 30
    assert server.hub.settings.call_timeout == 3
    assert server.control.effective.get("deviceStream.encryptMode") == "TCP"
    assert (await camera.register()).access_key.startswith("NEWINDEX00000001")
    assert logs._Output.levels == {"error"}
    assert server.ready()["streamTCP"]
    assert (await line.ask(Command.HEARTBEAT)).status == 200
    writer.write(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"RTSP/1.0 200")
    writer.close()


async def test_server_certificate_is_renewed_live(server: Any, camera: Any) -> None:
    assert not server.certificates.keep(datetime.now(UTC))
    line = await camera.signaling()
    old = line.writer.get_extra_info("ssl_object").getpeercert(True)
    server.site.certs.server_chain("127.0.0.1").unlink()
    assert server.certificates.keep(datetime.now(UTC))
    again = await camera.signaling()
    assert again.writer.get_extra_info("ssl_object").getpeercert(True) != old


async def test_denied_camera_is_out_everywhere(server: Any, camera: Any, wire: Any) -> None:
    line = await camera.signaling()
    server.book.set_access(UID, "Denied")
    await server.devices.disconnect(UID, "Denied")
    await asyncio.wait_for(line.ended.wait(), 8)
    again = await camera.signaling(hello=False)
    await asyncio.wait_for(again.ended.wait(), 8)
    refusal = await camera.certify(camera.certificate.code)
    assert refusal.symbol == "code_invalid"
    server.book.set_access(UID, "Allowed")
    assert await camera.signaling()


async def _shout(port: int, tls: ssl.SSLContext | None, data: bytes) -> None:
    with contextlib.suppress(OSError, ssl.SSLError, asyncio.TimeoutError):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname="127.0.0.1" if tls else None
        )
        writer.write(data)
        await asyncio.wait_for(reader.read(1024), 0.05)
        writer.transport.abort()


async def test_hostile_input_leaves_nothing_behind(server: Any, camera: Any, wire: Any, until: Any) -> None:
    rng = random.Random(7)
    tasks = len(asyncio.all_tasks())
    names = ("getCAHttps", "getCertHttps", "registerHttps", "keepAliveTCP", "signalingTLS")
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # the beginning of a TLS hello
    for _ in range(10):
        noise = [rng.randbytes(rng.choice((1, 24, 100, 3000))), hello, hello + os.urandom(64), b""]
        for name in names:
            port = server.ports.listeners[name].port
            await asyncio.gather(*(_shout(port, None, data) for data in noise))
        for name, tls in (
            ("getCertHttps", wire.lax_context()),
            ("registerHttps", camera.context),
            ("signalingTLS", camera.context),
        ):
            port = server.ports.listeners[name].port
            await asyncio.gather(*(_shout(port, tls, data) for data in noise))
    link = await camera.signaling()
    for command in (Command.HANDSHAKE, Command.ALARM, Command.HEARTBEAT, 9999):
        body = wire.Packet(0, command, 1, 200, rng.randbytes(50)).encode()
        await _shout(server.ports.listeners["signalingTLS"].port, camera.context, body)
    assert (await link.ask(Command.HEARTBEAT)).status == 200
    await until(lambda: server.ports.connections == 1, 15)
    await until(lambda: server.ports.gate.open == 0)
    await link.close()
    await until(lambda: server.ports.connections == 0)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert server.devices.online() == ()
