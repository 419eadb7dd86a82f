"""docs/reference/http.md shows every call as the server answers it today."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from rop_server.client.operations import OPERATIONS
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.packet import REQUEST, Packet

TARGET = Path(__file__).parents[4] / "docs/reference/http.md"
UID = "95270000000TEST1"
OTHER = "95270000000TEST2"
ROOM = f"/v1.0/devices/{UID}"


@pytest_asyncio.fixture
async def reference(directory: Any, scribe: Any, server: Any) -> AsyncIterator[Any]:
    async with aiohttp.ClientSession() as session:
        yield scribe.Reference(session, directory.numbers)


async def sessions(ref: Any) -> None:
    ref.section("Initialization session", "What a camera is handed at set-up. `time` is in seconds since 1970.")
    path = "/v1.0/devices/initialization-session"
    await ref.call("POST", path, {"uid": UID}, template=path)
    await ref.call("POST", path, {"uid": "x"})


async def devices(ref: Any) -> None:
    ref.section("Devices", "Those with a connection right now, in order of arrival.")
    await ref.call("GET", "/v1.0/devices")
    ref.section("Device name")
    await ref.call("GET", f"{ROOM}/settings/general-config")
    await ref.call("PUT", f"{ROOM}/settings/general-config", {"deviceName": "Front door"})
    ref.section("PIR sensor")
    await ref.call("GET", f"{ROOM}/settings/pir-config")
    await ref.call(
        "PUT", f"{ROOM}/settings/pir-config", {"enabled": True, "sensitivity": 60, "reduceMistakes": False}
    )
    await ref.call(
        "PUT",
        f"{ROOM}/settings/pir-config",
        {"enabled": True, "sensitivity": 500, "reduceMistakes": False},
        note="Ranges are enforced.",
    )
    ref.section("Alarm reports")
    await ref.call("GET", f"{ROOM}/settings/alarm")
    await ref.call("PUT", f"{ROOM}/settings/alarm", {"enabled": True})


async def movement(ref: Any) -> None:
    ref.section("PTZ", "A rotation goes on until the direction `none`; `speed` is 1 to 64 and always needed.")
    await ref.call("PATCH", f"{ROOM}/ptz/zoom", {"channel": 0, "action": "inc"})
    await ref.call("PATCH", f"{ROOM}/ptz/focus", {"channel": 0, "action": "dec"})
    await ref.call("POST", f"{ROOM}/ptz/rotate", {"channel": 0, "direction": "leftUp", "speed": 32})
    await ref.call("POST", f"{ROOM}/ptz/rotate", {"channel": 0, "direction": "none", "speed": 32})
    await ref.call("PATCH", f"{ROOM}/ptz/zoom", {"channel": 1, "action": "inc"}, note="A channel without zoom:")
    await ref.call(
        "POST", f"{ROOM}/ptz/rotate", {"channel": 1, "direction": "leftUp", "speed": 1}, note="Four ways only:"
    )
    await ref.call("PATCH", f"{ROOM}/ptz/zoom", {"channel": 9, "action": "inc"})


async def pictures(ref: Any) -> None:
    ref.section("Battery", "The last report; the device is not woken.")
    await ref.call("GET", f"{ROOM}/states/battery")
    ref.section("Snapshot", "Whatever goes wrong with an online device is `snap_error`.")
    await ref.call("GET", f"{ROOM}/snap/snapshot.jpg?stream_type=mainStream&channel=0")
    await ref.call("GET", f"{ROOM}/snap/snapshot.jpg?stream_type=externStream&channel=0")
    ref.section(
        "Live", "Open the address within `expiredIn` seconds; from then on it lives while somebody watches."
    )
    await ref.call("POST", f"{ROOM}/live/play-session", {"streamType": "mainStream", "channel": 0})
    await ref.call("POST", f"{ROOM}/live/play-session", {"streamType": "externStream", "channel": 0})


async def recordings(ref: Any) -> None:
    ref.section(
        "Recordings",
        "Times are the wall clock of the device. A page has up to 40 items; `nextToken` of a full page goes into\n"
        "`next_token` of the next call. `totalRows` counts all pages.",
    )
    span = "record_date=2022-01-01&start_at=00:00:00&end_at=23:59:59&stream_type=mainStream&channel=0"
    await ref.call("GET", f"{ROOM}/records?{span}")
    await ref.call("GET", f"{ROOM}/records/calendar?channel=0&year=2022&month=1")
    await ref.call("POST", f"{ROOM}/records/play-session", {"fileName": "/mnt/sda/01.mp4", "channel": 0})


async def wifi(ref: Any) -> None:
    ref.section("WiFi", "`key` may be empty. The result of a scan is kept for ten minutes.")
    network = {"ssid": "Yard", "key": "correct horse", "countryCode": "DE"}
    await ref.call("GET", f"{ROOM}/settings/wifi-config")
    await ref.call("PUT", f"{ROOM}/settings/wifi-config", network)
    await ref.call("POST", f"{ROOM}/wifi/test", network, note="Only while the camera uses its wired network:")
    session = (await ref.call("POST", f"{ROOM}/wifi/scan-task"))["sessionId"]
    ref.stands_for(session, "Zk3p" * 8)
    before = list(ref.text)
    template = "/v1.0/devices/{uid}/wifi/scan/{session-id}"
    async with asyncio.timeout(10):
        while (await ref.call("GET", f"{ROOM}/wifi/scan/{session}", template=template))["status"] == "scanning":
            ref.text = list(before)


async def firmware(ref: Any, camera: Any, line: Any) -> None:
    ref.section(
        "Firmware",
        "The name is taken as it stands in the path: letters, digits, `._-%`, blanks, no dot in"
        " front.\n"
        "Files can also be put into the folder by hand. An upload slower than 64 KiB in 30 s is refused.\n"
        "An upgrade takes files that end in `pak` or `paks`.",
    )
    await ref.call("POST", "/v1.0/firmware/E1.pak", bytes(100_000), template="/v1.0/firmware/{fileName}")
    await ref.call("POST", "/v1.0/firmware/E1.pak", bytes(100_000))
    order = {"upgradeFile": "E1.pak", "factoryReset": False}
    template = "/v1.0/devices/{uid}/upgrade-session/{session-id}"
    session = (await ref.call("POST", f"{ROOM}/upgrade-session", order))["sessionId"]
    ref.stands_for(session, "Wq8v" * 8)
    await ref.call("GET", f"{ROOM}/upgrade-session/{session}", template=template)
    await ref.call("POST", f"{ROOM}/upgrade-session", order)
    await ref.call("POST", f"{ROOM}/upgrade-session", order | {"upgradeFile": "E1.bin"})
    async with asyncio.timeout(10):
        while not any(packet.command == Command.SLEEP for packet in line.seen):
            await asyncio.sleep(0)
    await line.close()
    await camera.signaling(firmware="v2")
    path = f"{ROOM}/upgrade-session/{session}"
    await ref.call("GET", path, note="When the camera is back with another version:")


async def raw(ref: Any, server: Any) -> None:
    ref.section(
        "Raw commands",
        "Not served unless `rop.signalCommands` lists the numbers that may be sent. With `[104, 105]`:",
    )
    await server.control.apply({"rop.signalCommands": [104, 105]})
    await ref.call("GET", f"{ROOM}/signal?cmd=104")
    await ref.call("POST", f"{ROOM}/signal?cmd=105", {"body": {"Param007": {"attr012": "Yard"}}})
    await ref.call("GET", f"{ROOM}/signal?cmd=199")


async def refusals(ref: Any) -> None:
    ref.section("Refusals of every call")
    await ref.call("GET", f"/v1.0/devices/{OTHER}/settings/alarm")
    await ref.call("GET", f"{ROOM}/upgrade-session/unknown")
    await ref.call("GET", "/v1.0/unknown")


async def test_the_reference_is_what_the_server_does(
    reference: Any, server: Any, camera: Any, line: Any, told: Any, until: Any
) -> None:
    equip(line, told)
    keep = await camera.keep_alive(family="powered", model="RLC-1")
    beat = messages.Heartbeat(messages.BatteryState(80, 1))
    await keep.ask(Command.HEARTBEAT, beat.encode())
    line.send(Packet(REQUEST, Command.NETWORK_REPORT, 7, 200, messages.NetworkReport("wire").encode()))
    await until(lambda: server.devices.link(UID).wired)
    await sessions(reference)
    await devices(reference)
    await movement(reference)
    await pictures(reference)
    await recordings(reference)
    await wifi(reference)
    await raw(reference, server)
    await firmware(reference, camera, line)
    await refusals(reference)
    described = {(each.method, each.path) for each in OPERATIONS}
    assert described - reference.seen == set(), "a call without an example, or not served"
    text = "".join(reference.text)
    if os.environ.get("ROP_HTTP_REFERENCE") == "write":
        TARGET.write_text(text)
    assert TARGET.read_text() == text, "docs/reference/http.md is out of date: run `make generate`"


def equip(line: Any, told: Any) -> None:
    """Answers to every call."""
    start = datetime(2022, 1, 1, 10)
    files = [
        messages.Recording(
            0, "mainStream", f"/mnt/sda/0{n}.mp4", start.replace(minute=n), start.replace(minute=n, second=45)
        )
        for n in (1, 2)
    ]
    told.equip(line, (messages.Channel(0, 3, 2, 0, 1), replace(told.CHANNELS[1], number=1)))
    line.answers |= {
        Command.GET_GENERAL: messages.GeneralConfig("Yard").encode(),
        Command.SET_GENERAL: 200,
        Command.GET_PIR: messages.PirConfig(True, 60, False).encode(),
        Command.SET_PIR: 200,
        Command.GET_ALARM_SWITCH: messages.AlarmSwitch(True).encode(),
        Command.SET_ALARM_SWITCH: 200,
        Command.FIND_FILES: messages.Files(2, tuple(files)).encode(),
        Command.FILE_INFO: messages.FileInfoReply(0).encode(),
        Command.CALENDAR: messages.Calendar({0: (1, 17, 31)}).encode(),
        Command.UPGRADE: 200,
        Command.SLEEP: 200,
    }
