"""Battery cameras on 61003: hello, heartbeats, wake-up, sleep. Source: device-protocol 6 and 9.3 to 9.6."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from rop_server.core.facade import CallError
from rop_server.core.key_turns import KeyTurns
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.encrypted import access_key, secret_access_key, uid_hash
from rop_wire.packet import Packet

UID = "95270000000TEST1"


def battery(percent: int, charge: int = 1) -> bytes:
    return messages.Heartbeat(messages.BatteryState(percent, charge)).encode()


async def test_asleep_with_battery_state(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).keep_alive()
    assert site.devices.link(UID).asleep
    await link.ask(Command.HEARTBEAT, battery(87))
    state = site.devices.link(UID).battery
    assert (state.percent, state.charge) == (87, "charging")
    revision = site.devices.revision
    await link.ask(Command.HEARTBEAT, battery(87))
    assert site.devices.revision == revision
    await link.ask(Command.HEARTBEAT)  # an empty heartbeat is accepted and keeps the last value
    assert site.devices.link(UID).battery.percent == 87
    link.send(Packet(0, Command.HEARTBEAT, 3, 200, messages.Heartbeat(no_reply=True).encode()))
    await link.ask(Command.HEARTBEAT, battery(86))
    assert all(packet.request_id != 3 for packet in link.seen)


async def test_interval_by_operator(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).keep_alive(hello=False)
    reply = await link.handshake(UID, family="battery", network="4G", operator="46000")
    assert messages.HandshakeReply.decode(reply.payload).heartbeat_interval_ms == 1_140_000
    site.time.shift = 1000.0
    await link.ask(Command.HEARTBEAT, battery(50))
    site.time.shift = 1000.0 + 2281.0
    await asyncio.wait_for(link.ended.wait(), 8)


async def test_one_wake_for_several_calls(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    keep = await camera.keep_alive()
    keep.answers[Command.WAKE_UP] = messages.EMPTY_DOCUMENT
    with pytest.raises(CallError, match="device_asleep"):
        await site.devices.call(UID, messages.GeneralConfigGet(), wake=False)
    calls = [asyncio.create_task(site.devices.call(UID, messages.GeneralConfigGet())) for _ in range(3)]
    await site.until(lambda: any(p.command == Command.WAKE_UP for p in keep.seen))
    line = await camera.signaling(hello=False)
    line.answers[Command.GET_GENERAL] = messages.GeneralConfig("Gate").encode()
    await line.handshake(UID, family="battery")
    assert len({bytes(each) for each in await asyncio.gather(*calls)}) == 1
    assert sum(packet.command == Command.WAKE_UP for packet in keep.seen) == 1
    assert site.facts.of("woken") == [(UID,)]
    assert not site.devices.link(UID).asleep


async def test_empty_wake_up_answer_is_accepted(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    keep = await camera.keep_alive()
    keep.answers[Command.WAKE_UP] = b""
    call = asyncio.create_task(site.devices.call(UID, messages.GeneralConfigGet()))
    await site.until(lambda: any(p.command == Command.WAKE_UP for p in keep.seen))
    line = await camera.signaling(hello=False)
    line.answers[Command.GET_GENERAL] = messages.GeneralConfig("Gate").encode()
    await line.handshake(UID, family="battery")
    assert await call
    assert not keep.ended.is_set()


async def test_wake_up_time_outs(site: Any, new_camera: Any) -> None:
    keep = await (await new_camera()).keep_alive()
    keep.answers[Command.WAKE_UP] = None
    call = asyncio.create_task(site.devices.call(UID, messages.GeneralConfigGet()))
    await site.until(lambda: any(p.command == Command.WAKE_UP for p in keep.seen))
    site.time.shift += 10.1
    with pytest.raises(CallError, match="cmd_timeout"):
        await call
    keep.answers[Command.WAKE_UP] = messages.EMPTY_DOCUMENT
    call = asyncio.create_task(site.devices.call(UID, messages.GeneralConfigGet()))
    await site.until(lambda: UID in site.hub.wakes and site.hub.wakes[UID].phase.value == "answered")
    site.time.shift += 10.1
    with pytest.raises(CallError, match="wake_up_timeout"):
        await call
    assert site.hub.wakes == {}


async def test_keep_alive_lost_while_waking(site: Any, new_camera: Any) -> None:
    keep = await (await new_camera()).keep_alive()
    keep.answers[Command.WAKE_UP] = None
    call = asyncio.create_task(site.devices.call(UID, messages.GeneralConfigGet()))
    await site.until(lambda: any(p.command == Command.WAKE_UP for p in keep.seen))
    await keep.close()
    with pytest.raises(CallError, match="device_offline"):
        await call
    assert len(site.hub.pending) == 0


async def test_idle_device_is_sent_to_sleep(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    keep = await camera.keep_alive()
    line = await camera.signaling(family="battery")
    line.answers[Command.SLEEP] = 200
    site.time.shift = 29.0
    await keep.ask(Command.HEARTBEAT, battery(50))
    await line.ask(Command.HEARTBEAT)
    assert all(packet.command != Command.SLEEP for packet in line.seen)
    site.hub.hold_awake(UID, 5.0)
    site.time.shift = 31.0
    await line.ask(Command.HEARTBEAT)
    assert all(packet.command != Command.SLEEP for packet in line.seen)
    site.time.shift = 29.0 + 30.5
    await site.until(lambda: any(packet.command == Command.SLEEP for packet in line.seen))
    await line.close()
    await site.until(lambda: site.devices.link(UID).asleep)
    assert site.facts.of("disconnected")[0][2] == "Signaling"


async def test_call_after_sleep_was_sent_wakes_again(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    keep = await camera.keep_alive()
    keep.answers[Command.WAKE_UP] = messages.EMPTY_DOCUMENT
    line = await camera.signaling(family="battery")
    line.answers[Command.GET_GENERAL] = None
    call = asyncio.create_task(site.devices.call(UID, messages.GeneralConfigGet()))
    await site.until(lambda: any(p.command == Command.GET_GENERAL for p in line.seen))
    await line.close()
    await site.until(lambda: any(p.command == Command.WAKE_UP for p in keep.seen))
    again = await camera.signaling(hello=False)
    again.answers[Command.GET_GENERAL] = messages.GeneralConfig("Gate").encode()
    await again.handshake(UID, family="battery")
    assert await call


async def test_identity_is_bound_to_the_access_key(site: Any, new_camera: Any) -> None:
    other = "95270000000TEST2"
    await new_camera(other)
    link = await (await new_camera()).keep_alive(hello=False)
    link.send(Packet(0, Command.HANDSHAKE, 1, 200, messages.Handshake(other).encode()))
    await asyncio.wait_for(link.ended.wait(), 8)
    assert site.devices.online() == ()


async def test_old_key_index_gets_a_signed_400(site: Any, new_camera: Any) -> None:
    old = "OLDINDEX00000000"
    keys = (access_key(old, UID), secret_access_key("0" * 32, uid_hash(UID)))
    link = await (await new_camera()).keep_alive(hello=False, keys=keys)
    assert link.channel.status == 400
    await asyncio.wait_for(link.ended.wait(), 8)


async def test_wrong_mac_ends_the_connection(site: Any, new_camera: Any) -> None:
    link = await (await new_camera()).keep_alive()
    raw = bytearray(link.encode(Packet(0, Command.HEARTBEAT, 1, 200, battery(1))))
    raw[-1] ^= 1
    link.writer.write(raw)
    await asyncio.wait_for(link.ended.wait(), 8)
    assert "integrity" in site.facts.of("disconnected")[0][3]


async def test_denied_on_keep_alive(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    site.facts.denied.add(UID)
    link = await camera.keep_alive(hello=False)
    link.send(Packet(0, Command.HANDSHAKE, 1, 200, messages.Handshake(UID).encode()))
    await asyncio.wait_for(link.ended.wait(), 8)
    assert site.facts.of("refused") == [(UID, "keepAliveTCP", "Denied")]


async def test_no_hello_no_connection(site: Any) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.ports["keepAliveTCP"])
    await site.until(lambda: site.net.gate.open == 1)
    assert not site.hub.open
    site.time.shift = 10.5
    assert await asyncio.wait_for(reader.read(), 8) == b""
    writer.close()
    await site.until(lambda: site.net.gate.open == 0)


async def test_changed_key_index_moves_a_connected_device_with_one_reconnect(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    link = await camera.keep_alive()
    site.hub.settings = replace(site.hub.settings, current_key_index="OLDINDEX00000000")
    site.enrolment.settings = site.hub.settings
    link.send(Packet(0, Command.HEARTBEAT, 2, 200, battery(50)))
    await asyncio.wait_for(link.ended.wait(), 8)
    assert (await camera.keep_alive(hello=False)).channel.status == 400
    await camera.register()
    again = await camera.keep_alive()
    assert (await again.ask(Command.HEARTBEAT, battery(50))).status == 200


async def test_older_key_index_is_served_until_its_turn(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    site.hub.key_turns = KeyTurns(site.hub.clock.monotonic, lambda: 100_000)
    site.hub.settings = replace(site.hub.settings, current_key_index="OLDINDEX00000000")
    link = await camera.keep_alive()
    assert (await link.ask(Command.HEARTBEAT, battery(50))).status == 200
    site.time.shift = 100_000
    assert (await camera.keep_alive(hello=False)).channel.status == 400
