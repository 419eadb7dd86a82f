"""Transfers of firmware disturb nobody: heartbeats go on, slow links take little memory.

Source: discrepancies C5.3.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from rop_server.core.transfer import Batch
from rop_server.core.upgrades import SLICES_PER_TURN
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.packet import Packet

UID = "95270000000TEST1"
CAMERAS = 100
SLICES = 60
# Turns of the loop from a heartbeat's way out of the camera to its answer's way in; both live on this one.
TURNS = 12


class Counter:
    """Counts slices and bytes; answers at once when `go` is set, and what came before it then."""

    def __init__(self, line: Any, go: asyncio.Event) -> None:
        self.line = line
        self.go = go
        self.bytes = 0
        self.held: list[Packet] = []
        self.ordered = False
        line.answers[Command.UPGRADE] = self.take
        line.answers[Command.SLEEP] = self.install

    def take(self, packet: Packet) -> None:
        self.bytes += len(packet.payload) if packet.extension else 0
        if packet.extension and not self.go.is_set():
            self.held.append(packet)
        else:
            self.line.send(packet.reply())

    def release(self) -> None:
        for packet in self.held:
            self.line.send(packet.reply())

    def install(self, packet: Packet) -> None:
        self.ordered = True


@pytest_asyncio.fixture
async def crowd(server: Any, directory: Any, wire: Any, tmp_path: Path) -> AsyncIterator[list[Counter]]:
    """Cameras that are upgraded without being asked for more than an answer."""
    cameras = []
    counters = []
    go = asyncio.Event()
    for number in range(CAMERAS):
        folder = tmp_path / f"camera-{number}"
        folder.mkdir()
        camera = wire.Camera(
            f"95270000000CAM{number:02}", directory.numbers, folder, server.site.root_pem.decode()
        )
        await camera.certify(server.devices.issue_code(camera.uid).code)
        cameras.append(camera)
        counters.append(Counter(await camera.signaling(), go))
    yield counters
    for camera in cameras:
        await camera.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all slices that the server has sent."""
    lengths: list[int] = []
    send = Batch.send

    def spy(batch: Batch, data: bytes) -> None:
        lengths.append(len(data))
        send(batch, data)

    monkeypatch.setattr(Batch, "send", spy)
    return lengths


async def test_heartbeats_do_not_wait_for_a_hundred_transfers(
    server: Any, client: Any, crowd: list[Counter], line: Any, sent: list[int], until: Any
) -> None:
    """A heartbeat is answered between few slices, while 100 cameras are to get 30 each without a pause."""
    size = SLICES * messages.SLICE_LENGTH
    await client("POST", "/v1.0/firmware/E1.pak", data=os.urandom(size))
    for number in range(CAMERAS):
        path = f"/v1.0/devices/95270000000CAM{number:02}/upgrade-session"
        assert (await client("POST", path, {"upgradeFile": "E1.pak", "factoryReset": False})).status == 200
    await until(lambda: all(len(each.held) == messages.SLICES_IN_FLIGHT for each in crowd))
    crowd[0].go.set()
    for each in crowd:
        each.release()
    meanwhile: list[int] = []
    async with asyncio.timeout(120):
        while not all(each.ordered for each in crowd):
            before = len(sent)
            assert (await line.ask(Command.HEARTBEAT)).status == 200
            meanwhile.append(len(sent) - before)
    assert [each.bytes for each in crowd] == [size] * CAMERAS
    assert server.upgrades.running == CAMERAS
    assert max(meanwhile) <= SLICES_PER_TURN * TURNS
    assert len(meanwhile) >= CAMERAS * (SLICES - messages.SLICES_IN_FLIGHT) / (SLICES_PER_TURN * TURNS)


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
