"""A camera and a server that bends the rules: what must be tolerated, refused, reported."""

import asyncio
import json
import ssl
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rop_pki import create_root
from rop_sim.extras import Extras
from rop_sim.provision import SetupError
from rop_wire import messages
from rop_wire.auth import ca_hash
from rop_wire.commands import Command
from rop_wire.encrypted import Hello, secret_access_key, uid_hash
from rop_wire.packet import REQUEST, RESPONSE, Packet
from rop_wire.provisioning import Refusal

Until = Callable[..., Awaitable[Any]]
Events = Callable[[str], list[dict[str, Any]]]


async def joined(server: Any, run_camera: Any, **traits: Any) -> Any:
    camera = run_camera(**traits)
    await camera.set_up(server.document())
    return camera


@pytest.mark.parametrize("chunked", [False, True])
async def test_vendor_shaped_answers_are_read(
    server: Any, run_camera: Any, until: Until, events: Events, chunked: bool
) -> None:
    server.chunked = chunked
    await joined(server, run_camera)
    await until("it is online", lambda: events("online"))
    assert server.asked == ["cert AbCd1234", "register"]
    assert events("violation") == []


@pytest.mark.parametrize(
    ("bend", "symbol"),
    [
        ({"refusal": Refusal("code_invalid", "The code is invalid.")}, "download_private_key_failed"),
        ({"register_refusal": Refusal("invalid_parameter", "x")}, "registe_failed"),
    ],
)
async def test_refusals_with_status_200_are_refusals(
    server: Any, run_camera: Any, bend: dict[str, Any], symbol: str
) -> None:
    for name, value in bend.items():
        setattr(server, name, value)
    camera = run_camera()
    with pytest.raises(SetupError) as failure:
        await camera.set_up(server.document())
    assert failure.value.symbol == symbol
    assert camera.identity is None


async def test_a_server_certificate_for_another_host_is_refused(server: Any, run_camera: Any) -> None:
    await server.stop()
    server.certified_host = "192.0.2.1"
    await server.start()
    camera = run_camera()
    with pytest.raises(SetupError) as failure:
        await camera.set_up(server.document())
    # The root comes without trust; the first trusted connection is the certificate's.
    assert failure.value.symbol == "download_private_key_failed"
    assert "cert AbCd1234" not in server.asked


async def test_a_server_elsewhere_must_still_have_the_hosts_certificate(
    server: Any, run_camera: Any, until: Any
) -> None:
    """With `connect_to` a name that resolves nowhere is enough, and the certificate is compared with that name."""
    await server.stop()
    server.certified_host = "cameras.invalid"
    await server.start()
    camera = run_camera(Extras(connect_to="127.0.0.1"))
    with pytest.raises(SetupError):
        await camera.set_up(server.document(host="other.invalid"))
    await camera.set_up(server.document(host="cameras.invalid"))
    await until("online", lambda: camera.signaling is not None and camera.signaling.ready)


async def test_a_server_of_another_root_gets_no_code(server: Any, run_camera: Any, tmp_path: Any) -> None:
    """The hash fits the root that is handed out, but the ports are somebody else's."""
    _, other = create_root(datetime.now(UTC))
    server.authority.root_pem = other
    camera = run_camera()
    with pytest.raises(SetupError) as failure:
        await camera.set_up(server.document(ca_hash=ca_hash(other)))
    assert failure.value.symbol == "download_private_key_failed"
    assert server.asked == []


async def test_one_set_up_at_a_time(server: Any, run_camera: Any) -> None:
    camera = run_camera()
    results = await asyncio.gather(
        camera.set_up(server.document()), camera.set_up(server.document()), return_exceptions=True
    )
    failures = [r for r in results if isinstance(r, SetupError)]
    assert [f.symbol for f in failures] == ["cmd_exec_error"]
    assert results.count(None) == 1


def request(command: int, payload: bytes = b"", status: int = 200) -> Packet:
    return Packet(REQUEST, command, 4711, status, payload)


def response(command: int, number: int, payload: bytes = b"", status: int = 200) -> Packet:
    return Packet(RESPONSE, command, number, status, payload)


BAD_PIR = b"<body><Param016><attr002>1</attr002><attr003>500</attr003><attr001>1</attr001></Param016></body>"
FAULTS = {
    "response to nothing": (response(0, 99), "nobody sent"),
    "only cameras send it": (request(Command.HEARTBEAT), "only cameras"),
    "wake-up on signaling": (request(Command.WAKE_UP), "signaling connection"),
    "sleep for a powered camera": (request(Command.SLEEP), "powered"),
    "payload where none belongs": (request(Command.GET_PIR, b"<body/>"), "payload"),
    "status of a request": (request(Command.GET_PIR, status=400), "status"),
    "sensitivity": (request(Command.SET_PIR, BAD_PIR), "sensitivity"),
    "name": (request(Command.SET_GENERAL, messages.GeneralConfigSet(" x").encode()), "name"),
    "broken document": (request(Command.SET_ALARM_SWITCH, b"<body>"), "XML"),
    "unknown kind": (Packet(7, Command.GET_PIR, 1), "kind"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_what_a_server_must_not_send_on_signaling(
    server: Any, run_camera: Any, until: Until, events: Events, name: str
) -> None:
    packet, word = FAULTS[name]

    async def bend(talk: Any) -> None:
        await talk.accept()
        talk.send(packet)
        while True:
            await talk.next()

    server.signaling = bend
    camera = await joined(server, run_camera)
    stopped: list[bool] = []
    camera.on_violation = lambda: stopped.append(True)
    told = await until("the violation is reported", lambda: events("violation"))
    assert word in told[0]["what"]
    assert stopped
    assert camera.violations >= 1
    assert camera.device.settings.pir.sensitivity == 50


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"\0" * 8 + b"\xff\xff\xff\x7f" + b"\0" * 12, "core packet"),
        (b"\0" * 8 + b"\x04\0\0\0" + b"\0" * 8 + b"\x05\0\0\0", "extension"),
    ],
)
async def test_bad_framing_closes_the_connection(
    server: Any, run_camera: Any, until: Until, events: Events, raw: bytes, word: str
) -> None:
    async def bend(talk: Any) -> None:
        await talk.accept()
        assert (await talk.next()).command == Command.NETWORK_REPORT
        talk.writer.write(raw)
        while True:
            await talk.next()

    server.signaling = bend
    await joined(server, run_camera)
    told = await until("the violation is reported", lambda: events("violation"))
    assert word in told[0]["what"]
    await until("it reconnects", lambda: len(events("online")) > 1)


@pytest.mark.parametrize("fault", ["mac", "sequence", "garbage", "hello"])
async def test_integrity_of_the_keep_alive_connection(
    server: Any, run_camera: Any, until: Until, events: Events, fault: str
) -> None:
    async def bend(talk: Any) -> None:
        if fault == "hello":
            await talk.reader.readexactly(100)
            talk.writer.write(b"\x64\0\xc8\0" + b"x" * 96)
            await talk.reader.read()
            return
        await talk.accept()
        wake = talk.channel.encode(request(Command.WAKE_UP))
        if fault == "mac":
            talk.writer.write(wake[:-1] + bytes([wake[-1] ^ 1]))
        elif fault == "sequence":
            talk.writer.write(wake + wake)
        else:
            talk.writer.write(b"\xff" * 64)
        while True:
            await talk.next()

    server.keep_alive = bend
    await joined(server, run_camera, battery=True)
    await until("the violation is reported", lambda: events("violation"))


async def test_battery_camera_wakes_and_sleeps(server: Any, run_camera: Any, until: Until, events: Events) -> None:
    seen: list[str] = []

    async def doze(talk: Any) -> None:
        await talk.accept()
        while True:
            packet = await talk.next()
            if packet.command == Command.HEARTBEAT:
                beat = messages.Heartbeat.decode(packet.payload)
                assert beat.battery is not None
                talk.send(packet.reply(payload=messages.HeartbeatReply.at(1.0).encode()))
                talk.send(request(Command.WAKE_UP))
                talk.send(Packet(REQUEST, Command.WAKE_UP, 4712))
            elif packet.command == Command.WAKE_UP:
                assert packet.kind == RESPONSE
                assert packet.payload.strip()
                seen.append(f"woken {packet.request_id}")

    async def briefly(talk: Any) -> None:
        await talk.accept()
        report = await talk.next()
        seen.append(f"network {messages.NetworkReport.decode(report.payload).network}")
        talk.send(request(Command.GET_GENERAL))
        answer = await talk.next()
        seen.append(messages.GeneralConfig.decode(answer.payload).device_name or "")
        talk.send(Packet(REQUEST, Command.SLEEP, 4713))
        assert (await talk.next()).command == Command.SLEEP
        assert await talk.reader.read() == b""
        seen.append("closed")

    server.keep_alive, server.signaling = doze, briefly
    await joined(server, run_camera, battery=True)
    await until("it sleeps again", lambda: "closed" in seen and events("asleep"))
    assert seen.count("closed") == 1
    assert {"woken 4711", "woken 4712", "network wifi", "Camera"} <= set(seen)
    assert events("violation") == []


async def test_stale_key_registers_again(server: Any, run_camera: Any, until: Until, events: Events) -> None:
    camera = await joined(server, run_camera, battery=True)
    await until("it is online", lambda: events("online"))
    good = server.keep_alive

    async def stale(talk: Any) -> None:
        hello, _ = Hello.decode(await talk.reader.readexactly(100))
        secret = secret_access_key("k" * 32, uid_hash("S1MTEST000000001"))
        talk.writer.write(Hello(400, hello.access_key, b"n" * 32).encode(secret))
        await talk.writer.drain()
        server.keep_alive = good

    server.keep_alive = stale
    camera.disconnect()
    await until("it registered again", lambda: len(events("registered")) == 2)
    await until("it is online again", lambda: len(events("online")) == 2)
    assert server.asked.count("register") == 2
    assert events("violation") == []


async def test_refused_registration_does_not_keep_a_camera_from_its_connection(
    server: Any, run_camera: Any, until: Until, events: Events
) -> None:
    camera = await joined(server, run_camera)
    await until("it is online", lambda: events("online"))
    server.register_refusal = Refusal("invalid_parameter", "x")
    camera._must_register = True
    camera.disconnect()
    await until("it is online again", lambda: len(events("online")) == 2)
    assert [e["at"] for e in events("refused")] == ["registe_failed"]


async def test_unanswered_heartbeats_end_the_connection(
    server: Any, run_camera: Any, until: Until, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(talk: Any) -> None:
        await talk.accept()
        while True:
            await talk.next()

    server.signaling = deaf
    server.heartbeat_s = 1
    await joined(server, run_camera)
    await until("it gives up and comes back", lambda: len(events("online")) == 2, patience=20.0)
    assert events("violation") == []


async def test_alarm_wakes_the_camera_and_is_acknowledged(
    server: Any, run_camera: Any, until: Until, events: Events
) -> None:
    camera = await joined(server, run_camera, battery=True)
    await until("it is online", lambda: events("online"))
    assert await camera.raise_alarm("people") is False
    camera.change(alarm=True)
    assert await camera.raise_alarm("people") is True
    await until("everything is answered", lambda: not camera.signaling.asked)
    assert events("violation") == []


async def test_client_certificate_is_sent_with_the_l2_ca(server: Any, run_camera: Any, until: Until) -> None:
    seen: list[Any] = []

    async def look(talk: Any) -> None:
        tls: ssl.SSLObject = talk.writer.get_extra_info("ssl_object")
        seen.append(tls.getpeercert())
        await talk.accept()
        await talk.reader.read()

    server.signaling = look
    await joined(server, run_camera)
    # The server trusts the root alone: without the L2 CA the handshake would have failed.
    peer = (await until("it connects", lambda: seen))[0]
    assert peer["subject"] == ((("commonName", "S1MTEST000000001"),),)


async def test_strict_camera_ends_with_3(server: Any, until: Until, tmp_path: Path) -> None:
    async def bend(talk: Any) -> None:
        await talk.accept()
        talk.send(request(Command.HEARTBEAT))
        await talk.reader.read()

    server.signaling = bend
    folder = tmp_path / "strict"
    command = ["camera", "--state", str(folder), "--uid", "S1MTEST000000001", "--no-discovery", "--strict"]
    process = await asyncio.create_subprocess_exec(str(Path(sys.executable).parent / "ropsim"), *command)
    await until("it listens", (folder / "ready.json").exists)
    where = json.loads((folder / "ready.json").read_text())["setup"]
    body = server.document().encode()
    reader, writer = await asyncio.open_connection(where["address"], where["port"])
    writer.write(b"POST /rop/setup HTTP/1.1\r\nHost: c\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert b" 200 " in await reader.readline()
    writer.close()
    assert await asyncio.wait_for(process.wait(), 30) == 3
    assert not (folder / "ready.json").exists()
