"""Transfers of firmware disturb nobody: heartbeats go on, slow links take little memory.

Source: discrepancies C5.3.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.packet import Packet

UID = "95270000000TEST1"
CAMERAS = 24
SLICES = 90


class Counter:
    """Counts slices and bytes, answers at once."""

    def __init__(self, line: Any) -> None:
        self.line = line
        self.bytes = 0
        self.ordered = False
        line.answers[Command.UPGRADE] = self.take
        line.answers[Command.SLEEP] = self.install

    def take(self, packet: Packet) -> None:
        self.bytes += len(packet.payload) if packet.extension else 0
        self.line.send(packet.reply())

    def install(self, packet: Packet) -> None:
        self.ordered = True


@pytest_asyncio.fixture
async def crowd(server: Any, directory: Any, wire: Any, tmp_path: Path) -> AsyncIterator[list[Counter]]:
    """Cameras that are upgraded without being asked for more than an answer."""
    cameras = []
    counters = []
    for number in range(CAMERAS):
        folder = tmp_path / f"camera-{number}"
        folder.mkdir()
        camera = wire.Camera(
            f"95270000000CAM{number:02}", directory.numbers, folder, server.site.root_pem.decode()
        )
        await camera.certify(server.devices.issue_code(camera.uid).code)
        cameras.append(camera)
        counters.append(Counter(await camera.signaling()))
    yield counters
    for camera in cameras:
        await camera.close()


async def test_heartbeats_do_not_wait_for_transfers(
    server: Any, client: Any, crowd: list[Counter], line: Any, until: Any
) -> None:
    size = SLICES * messages.SLICE_LENGTH
    await client("POST", "/v1.0/firmware/E1.pak", data=os.urandom(size))
    for number in range(CAMERAS):
        path = f"/v1.0/devices/95270000000CAM{number:02}/upgrade-session"
        assert (await client("POST", path, {"upgradeFile": "E1.pak", "factoryReset": False})).status == 200
    waits: list[float] = []
    async with asyncio.timeout(60):
        while not all(each.ordered for each in crowd):
            began = time.perf_counter()
            await line.ask(Command.HEARTBEAT)
            waits.append(time.perf_counter() - began)
    assert [each.bytes for each in crowd] == [size] * CAMERAS
    assert server.upgrades.running == CAMERAS
    assert len(waits) > 20
    # The cameras share this loop, so this is the time of both sides together.
    assert sorted(waits)[len(waits) // 2] < 0.25
    assert max(waits) < 2.0


async def test_a_slow_link_takes_little_memory_and_corrupts_nothing(
    server: Any, client: Any, line: Any, until: Any
) -> None:
    data = os.urandom(70 * messages.SLICE_LENGTH)
    await client("POST", "/v1.0/firmware/E1.pak", data=data)
    got = bytearray()
    ordered = asyncio.Event()

    def take(packet: Packet) -> None:
        if packet.extension:
            got.extend(packet.payload)
        line.send(packet.reply())

    line.answers[Command.UPGRADE] = take
    line.answers[Command.SLEEP] = lambda packet: ordered.set()
    transport = server.hub.registry.entry(UID).signaling._transport
    # The kernel's own choice of buffers would swallow a whole batch.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    line.writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    line.answers[Command.UPGRADE] = lambda packet: (take(packet), line.writer.transport.pause_reading())
    assert (
        await client("POST", "{device}/upgrade-session", {"upgradeFile": "E1.pak", "factoryReset": False})
    ).status == 200
    # The camera reads nothing after the announcement until the server's own buffer is in use; then in bits.
    await until(lambda: transport.get_write_buffer_size() > messages.SLICE_LENGTH)
    line.answers[Command.UPGRADE] = take
    most, paused = 0, True
    async with asyncio.timeout(60):
        while not ordered.is_set():
            most = max(most, transport.get_write_buffer_size())
            paused = not paused
            (line.writer.transport.pause_reading if paused else line.writer.transport.resume_reading)()
            await asyncio.sleep(0.001)
    assert bytes(got) == data
    assert messages.SLICE_LENGTH < most < 8 * messages.SLICE_LENGTH
