"""What relaying costs: cameras that send 4 Mbit/s over TLS, one viewer each over interleaved TCP.

`python tests/load/relay.py 30 120`: for each number of streams one line of JSON: server CPU seconds per GB, the
latency of whole frames (camera's write to the viewer's last packet, p50 and p99 in ms), and the part of the data
that arrived in time. Server and client run on different cores.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from rop_sim.fleet import Fleet, Member, uids
from rop_sim.link import Link
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.media import PIECE_LENGTH, Frame, FrameKind, InfoBlock
from rop_wire.nal import Codec
from rop_wire.packet import Packet

RATE = 25
KEY_EVERY = 50
PREDICTED, KEY = 18_400, 98_400  # 4 Mbit/s
SECONDS = 12.0
WARM_UP = 3.0
SETS = b"\x00\x00\x00\x01\x67\x42\xc0\x14\xda\x05\x07\x84\x00\x00\x00\x01\x68\xce\x3c\x80"


def bench_module() -> Any:
    """The other measurements, for their server."""
    spec = importlib.util.spec_from_file_location("bench", Path(__file__).with_name("bench.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Source(asyncio.Protocol):
    """The media connection of one camera."""

    def __init__(self, uid: str, handle: int) -> None:
        self.uid = uid
        self.handle = handle
        self.sent = 0
        self.number = 0
        self.ready = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        hello = messages.Handshake(self.uid, family="powered").encode()
        self.transport.write(Packet(0, Command.HANDSHAKE, 1, 200, hello).encode())

    def data_received(self, data: bytes) -> None:
        self.ready = True

    def frame(self) -> None:
        """Send the next frame; its slice begins with the time in hex."""
        key = self.number % KEY_EVERY == 0
        stamp = f"{time.monotonic_ns():016x}".encode()
        body = b"\x00\x00\x00\x01" + (b"\x65" if key else b"\x41") + stamp + b"\xaa" * (KEY if key else PREDICTED)
        kind = FrameKind.KEY if key else FrameKind.PREDICTED
        unit = Frame(kind, (SETS if key else b"") + body, self.number * 1_000_000 // RATE, Codec.H264).encode()
        for start in range(0, len(unit), PIECE_LENGTH):
            piece = unit[start : start + PIECE_LENGTH]
            self.transport.write(Packet(0, Command.LIVE_START, self.handle, 200, piece).encode())
        self.number += 1
        self.sent += len(unit)


class Cameras(Fleet):
    """A fleet that streams."""

    sources: dict[tuple[str, int], Source]

    def _packet(self, member: Member, link: Link, packet: Packet) -> None:
        if not packet.is_request:
            super()._packet(member, link, packet)
        elif packet.command == Command.SUPPORT:
            link.send(packet.reply(payload=messages.Support((messages.Channel(0, 7),)).encode()))
        elif packet.command == Command.LIVE_START:
            told = messages.LiveStart.decode(packet.payload)
            link.send(packet.reply(payload=InfoBlock(RATE, Codec.H264).encode()))
            source = self.sources[member.device.traits.uid, told.handle] = Source(
                member.device.traits.uid, told.handle
            )
            task = asyncio.get_running_loop().create_connection(
                lambda: source, member.identity.host, told.port, ssl=member.context
            )
            self._tasks.append(asyncio.ensure_future(task))
        else:
            link.send(packet.reply())

    async def stream(self, until: float) -> None:
        """Frames of every source at its rate, one after the other within each period."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while loop.time() < until:
            ready = [each for each in self.sources.values() if each.ready]
            for number, source in enumerate(ready):
                wait = due + number / max(1, len(ready)) / RATE - loop.time()
                if wait > 0.001:
                    await asyncio.sleep(wait)
                source.frame()
            due += 1 / RATE
            await asyncio.sleep(max(0, due - loop.time()))

    _tasks: list[asyncio.Future[Any]]


class Viewer(asyncio.Protocol):
    """Plays one address over interleaved TCP and times whole frames."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.buffer = bytearray()
        self.steps = ["DESCRIBE", "SETUP", "PLAY"]
        self.number = 0
        self.received = 0
        self.latencies: list[float] = []
        self.stamp = 0
        self.text = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.ask()

    def ask(self) -> None:
        """The next request."""
        self.number += 1
        method = self.steps.pop(0)
        url = self.url + ("/track1" if method == "SETUP" else "")
        more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n" if method == "SETUP" else ""
        self.transport.write(f"{method} {url} RTSP/1.0\r\nCSeq: {self.number}\r\n{more}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.text and not self._answers():
            return
        self._packets()

    def _answers(self) -> bool:
        while self.text:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = self.buffer[:end].decode()
            assert " 200 " in head, head
            body = 0
            if "Content-Length: " in head:
                body = int(head.split("Content-Length: ")[1].split("\r\n")[0])
            if len(self.buffer) < end + 4 + body:
                return False
            del self.buffer[: end + 4 + body]
            if self.steps:
                self.ask()
            else:
                self.text = False
        return True

    def _packets(self) -> None:
        buffer, offset, end = self.buffer, 0, len(self.buffer)
        now = time.monotonic_ns()
        while end - offset >= 4:
            (length,) = struct.unpack_from(">H", buffer, offset + 2)
            if end - offset < 4 + length:
                break
            if buffer[offset + 1] == 0:
                self.received += length
                kind, flags = buffer[offset + 16] & 0x1F, buffer[offset + 17]
                if kind == 28 and flags & 0x80:
                    self.stamp = int(bytes(buffer[offset + 18 : offset + 34]), 16)
                if buffer[offset + 5] & 0x80:
                    self.latencies.append((now - self.stamp) / 1e6)
            offset += 4 + length
        del buffer[:offset]


async def measure(server: Any, count: int) -> dict[str, float]:
    """One run."""
    await server.open_enrolment()
    fleet = Cameras(server.url, False)
    fleet.sources, fleet._tasks = {}, []
    await fleet.enrol(list(uids("RELAY", count)), lambda _: None)
    await fleet.connect()
    loop = asyncio.get_running_loop()
    stop = loop.time() + WARM_UP + SECONDS + count * 0.05
    streaming = loop.create_task(fleet.stream(stop))
    viewers = []
    async with aiohttp.ClientSession() as session:
        for uid in uids("RELAY", count):
            body = {"streamType": "mainStream", "channel": 0}
            async with session.post(f"{server.url}/v1.0/devices/{uid}/live/play-session", json=body) as answer:
                url = (await answer.json(content_type=None))["playURL"]
            viewer = Viewer(url)
            viewers.append(viewer)
            await loop.create_connection(lambda v=viewer: v, "127.0.0.1", server.ports["clientRtsp"])
    await asyncio.sleep(max(0.0, stop - SECONDS - loop.time()))
    cpu, began = server.cpu(), loop.time()
    sent = sum(each.sent for each in fleet.sources.values())
    received = sum(each.received for each in viewers)
    for viewer in viewers:
        viewer.latencies.clear()
    await streaming
    used = server.cpu() - cpu
    sent = sum(each.sent for each in fleet.sources.values()) - sent
    received = sum(each.received for each in viewers) - received
    times = sorted(each for viewer in viewers for each in viewer.latencies)
    fleet.close()
    return {
        "streams": count,
        "mbitPerStream": sent * 8 / 1e6 / count / (loop.time() - began),
        "cpuPerGB": used / (received / 1e9),
        "cpu": used / (loop.time() - began),
        "p50ms": times[len(times) // 2],
        "p99ms": times[len(times) * 99 // 100],
        "inTime": received / sent,
        "serverMiB": server.resident() / 1024,
    }


def run(count: int) -> dict[str, float]:
    """A fresh server with this many streams."""
    bench = bench_module()
    cores = sorted(os.sched_getaffinity(0))
    with bench.running() as server:
        if len(cores) > 1:
            os.sched_setaffinity(server.process.pid, cores[:1])
            os.sched_setaffinity(0, cores[1:])
        try:
            told: dict[str, float] = uvloop.run(measure(server, count))
        finally:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, cores)
    return {name: round(value, 3) for name, value in told.items()}


if __name__ == "__main__":
    for each in sys.argv[1:] or ["30"]:
        print(json.dumps(run(int(each))), flush=True)
