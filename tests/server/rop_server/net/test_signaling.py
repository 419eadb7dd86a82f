"""Wired cameras on 61005: real TLS, real handshakes. Source: device-protocol 5, 7 and 9."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rop_server.core.facade import CallError
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.packet import Packet

UID = "95270000000TEST1"


async def test_handshake_brings_online_with_certificate_facts(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    await camera.signaling()
    link = site.devices.link(UID)
    assert (link.family, link.model, link.firmware) == ("powered", "RLC-1", "v1")
    assert link.signaling and not link.keep_alive and not link.asleep
    assert link.address == "127.0.0.1"
    (_, serial, issuer, _, _) = site.facts.of("certificate")[0]
    assert link.certificate_serial == serial
    assert site.facts.admitted[-1][1:3] == (serial, issuer)
    assert site.facts.of("connected")[0][1] == "Signaling"
    assert [each.uid for each in site.devices.online()] == [UID]


async def test_heartbeat_is_answered_with_the_time(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).signaling()
    reply = await link.ask(Command.HEARTBEAT)
    assert (reply.kind, reply.command) == (1, Command.HEARTBEAT)
    assert abs(messages.HeartbeatReply.decode(reply.payload).seconds - site.clock.wall()) < 5


async def test_call_and_what_is_learned(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).signaling()
    link.answers[Command.GET_GENERAL] = messages.GeneralConfig("Door").encode()
    link.answers[Command.SET_PIR] = 200
    payload = await site.devices.call(UID, messages.GeneralConfigGet())
    assert messages.GeneralConfig.decode(payload).device_name == "Door"
    await site.devices.call(UID, messages.PirSet(True, 40, False))
    assert site.facts.of("learned") == [
        (UID, {"displayName": "Door"}, "Read"),
        (
            UID,
            {"pir.enabled": True, "pir.reduceMistakes": False, "pir.sensitivity": 40},
            "Written",
        ),
    ]


async def test_refused_and_silent_commands(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).signaling()
    with pytest.raises(CallError, match="cmd_exec_error"):
        await site.devices.call(UID, messages.PirGet())
    link.answers[Command.GET_PIR] = None
    with pytest.raises(CallError, match="cmd_timeout"):
        await site.devices.call(UID, messages.PirGet(), timeout=0.05)
    assert len(site.hub.pending) == 0
    late = link.seen[-1].reply(payload=messages.PirConfig(True, 50, True).encode())
    link.send(late)  # a late answer is ignored and disconnects nobody
    assert (await link.ask(Command.HEARTBEAT)).status == 200
    with pytest.raises(CallError, match="device_offline"):
        await site.devices.call("95270000000TEST2", messages.PirGet())


async def test_newer_connection_replaces_older(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    first = await camera.signaling()
    await camera.signaling(firmware="v2")
    await asyncio.wait_for(first.ended.wait(), 8)
    assert site.devices.link(UID).firmware == "v2"
    assert site.facts.of("disconnected") == []
    assert len(site.devices.online()) == 1


async def test_second_handshake_is_an_update(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).signaling()
    before = site.devices.revision
    assert (await link.handshake(UID, family="powered", firmware="v9")).status == 200
    assert site.devices.link(UID).firmware == "v9"
    assert site.devices.revision > before
    assert not link.ended.is_set()


async def test_call_is_repeated_once_on_a_newer_connection(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    first = await camera.signaling()
    first.answers[Command.GET_GENERAL] = None
    call = asyncio.create_task(site.devices.call(UID, messages.GeneralConfigGet()))
    await site.until(lambda: any(p.command == Command.GET_GENERAL for p in first.seen))
    second = await camera.signaling(hello=False)
    second.answers[Command.GET_GENERAL] = messages.GeneralConfig("Yard").encode()
    await second.handshake(UID, family="powered")
    assert messages.GeneralConfig.decode(await call).device_name == "Yard"


async def test_lost_connection_fails_the_call(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    link = await camera.signaling()
    link.answers[Command.GET_GENERAL] = None
    call = asyncio.create_task(site.devices.call(UID, messages.GeneralConfigGet()))
    await site.until(lambda: any(p.command == Command.GET_GENERAL for p in link.seen))
    await link.close()
    with pytest.raises(CallError, match="device_offline"):
        await call
    assert site.devices.link(UID) is None
    assert site.facts.of("disconnected")[0][:3] == (UID, None, "Signaling")


async def test_uid_of_another_is_refused(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).signaling(hello=False)
    link.send(Packet(0, Command.HANDSHAKE, 1, 200, messages.Handshake("95270000000TEST9").encode()))
    await asyncio.wait_for(link.ended.wait(), 8)
    assert site.devices.online() == ()
    assert link.seen == []


async def test_alarm_is_acknowledged_and_told_per_event(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).signaling()
    events = tuple(messages.AlarmEvent(str(n), "MD", "people") for n in range(2))
    reply = await link.ask(Command.ALARM, messages.AlarmMessage(events).encode())
    assert (reply.status, reply.payload) == (200, b"")
    assert [told[1]["channelId"] for told in site.facts.of("alarm")] == ["0", "1"]
    link.send(Packet(0, Command.ALARM, 5, 200, b"<body"))
    await asyncio.wait_for(link.ended.wait(), 8)


async def test_responses_are_never_answered(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).signaling()
    seen = len(link.seen)
    link.send(Packet(1, Command.HEARTBEAT, 77, 200, b""))
    link.send(Packet(1, 9999, 78, 200, b"x"))
    await link.ask(Command.HEARTBEAT)
    assert [packet.request_id for packet in link.seen[seen:]] != [77]
    assert all(packet.request_id not in (77, 78) for packet in link.seen)


async def test_network_report_has_no_answer(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).signaling()
    link.send(Packet(0, Command.NETWORK_REPORT, 5, 200, messages.NetworkReport("wire").encode()))
    link.send(Packet(0, Command.NETWORK_REPORT, 6, 200, b"<broken"))
    await link.ask(Command.HEARTBEAT)
    assert site.hub.registry.entry(UID).wired
    assert site.facts.of("networked") == [(UID, True)]
    assert {packet.request_id for packet in link.seen}.isdisjoint({5, 6})


async def test_silence_ends_the_connection(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).signaling()
    site.time.shift = 41.0
    await asyncio.wait_for(link.ended.wait(), 8)
    assert site.facts.of("disconnected")[0][3] == "heartbeat"


async def test_denied_device_is_cut_off_and_kept_out(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    online = await camera.signaling()
    waiting = await camera.signaling(hello=False)
    await site.until(lambda: len(site.hub.open) == 2)
    site.facts.denied.add(UID)
    await site.devices.disconnect(UID, "Denied")
    for link in (online, waiting):
        await asyncio.wait_for(link.ended.wait(), 8)
    again = await camera.signaling(hello=False)  # a resumed or full handshake: both are asked
    await asyncio.wait_for(again.ended.wait(), 8)
    assert ("refused", UID, "signalingTLS", "Denied") in site.facts.told
    assert site.devices.online() == ()
