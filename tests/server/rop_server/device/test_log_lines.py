"""What the server logs of devices and clients names the device, the connection and the action."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.packet import Packet

UID = "95270000000TEST1"
# Lines of these are about what somebody at a connection did.
ABOUT_CONNECTIONS = {"rop.core", "rop.net", "rop.rtsp", "rop.media", "rop.client", "rop.upgrade", "rop.firmware"}
# They are about nobody in particular: a stranger's handshake, a file.
WITHOUT_DEVICE = {"handshake", "firmware"}


async def _ask_rtsp(directory: Any, url: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", directory.numbers["clientRtsp"])
    writer.write(f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
    told = await asyncio.wait_for(reader.readline(), 20)
    writer.close()
    return told


async def test_every_line_names_device_connection_and_action(
    server: Any, camera: Any, directory: Any, log_lines: Any, until: Any, client: Any, told: Any
) -> None:
    line = await camera.signaling()
    told.equip(line)
    line.answers |= {Command.LIVE_START: 400, Command.UPGRADE: 402, Command.SNAPSHOT: 400}
    line.send(Packet(1, Command.GET_PIR, 4711, 200))  # an answer nobody waits for
    line.send(Packet(0, Command.NETWORK_REPORT, 1, 200, b"<body"))
    assert (await client("GET", "{device}/snap/snapshot.jpg?stream_type=mainStream&channel=0")).status == 400
    live = await client("POST", "{device}/live/play-session", {"streamType": "mainStream", "channel": 0})
    assert (await _ask_rtsp(directory, live.document["playURL"])).startswith(b"RTSP/1.0 404")
    await client("POST", "/v1.0/firmware/E1.pak", data=b"x" * 1000)
    order = {"upgradeFile": "E1.pak", "factoryReset": False}
    assert (await client("POST", "{device}/upgrade-session", order)).status == 200
    await until(lambda: not server.upgrades.running)
    line.answers[Command.GET_WIFI] = 400
    assert (await client("POST", "{device}/wifi/scan-task")).status == 200
    keep = await camera.keep_alive()
    await keep.close()
    line.send(Packet(0, Command.HANDSHAKE, 2, 200, messages.Handshake("95270000000OTHER").encode()))
    await until(lambda: server.devices.link(UID) is None)

    lines = [json.loads(text) for text in log_lines().splitlines()]
    assert all({"date", "level", "subject", "action"} <= set(each) for each in lines)
    about = [each for each in lines if each["subject"] in ABOUT_CONNECTIONS]
    actions = {each["action"] for each in about}
    wanted = {"device-online", "device-connection-lost", "device-offline", "ignored", "network-report", "snapshot"}
    assert actions >= wanted | {"describe", "firmware", "upgrade", "wifi-scan", "stream-end"}
    for each in about:
        assert each["action"] in WITHOUT_DEVICE or each.get("uid") == UID, each
        if each["action"] not in ("handshake", "stream-end"):  # this one never had a connection that sends
            port, _, number = each["connection"].rpartition("-")
            assert port in directory.numbers and number.isdigit(), each
    by_port = {each["action"]: each["connection"].rpartition("-")[0] for each in about if each.get("connection")}
    assert (by_port["describe"], by_port["snapshot"]) == ("clientRtsp", "clientHttp")
    assert by_port["ignored"] == "signalingTLS"
