"""A player for the tests that looks at every message and packet."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from rop_wire import rtcp, sdp
from rop_wire.nal import Codec
from rop_wire.rtp import RtpPacket, VideoAssembler
from rop_wire.rtsp import Interleaved, MessageReader, Request, Response

LIMIT = 10.0


@dataclass
class TestViewer:
    """One RTSP connection; interleaved packets are collected by channel."""

    __test__ = False

    url: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    messages: MessageReader = field(default_factory=MessageReader)
    responses: asyncio.Queue[Response] = field(default_factory=asyncio.Queue)
    packets: dict[int, list[RtpPacket]] = field(default_factory=dict)
    control: dict[int, list[bytes]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    number: int = 0
    description: list[sdp.MediaDescription] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    error: OSError | None = None
    task: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, url: str) -> TestViewer:
        """Open the connection and read from it."""
        host, _, port = url.split("/")[2].rpartition(":")
        made = cls(url, *await asyncio.open_connection(host, int(port), limit=1 << 16))
        made.task = asyncio.create_task(made._read())
        return made

    async def _read(self) -> None:
        try:
            while data := await self.reader.read(65536):
                for message in self.messages.feed(data):
                    if isinstance(message, Response):
                        self.order.append(f"response {message.status}")
                        self.responses.put_nowait(message)
                    elif isinstance(message, Interleaved):
                        self._packet(message)
        except OSError as error:
            self.error = error
        self.ended.set()

    def _packet(self, message: Interleaved) -> None:
        if message.channel % 2:
            self.control.setdefault(message.channel, []).append(message.data)
        else:
            self.order.append("media")
            self.packets.setdefault(message.channel, []).append(RtpPacket.decode(message.data))

    def send(self, method: str, url: str | None = None, **headers: str) -> None:
        """A request."""
        self.number += 1
        told = [("CSeq", str(self.number)), *((name.replace("_", "-"), value) for name, value in headers.items())]
        self.writer.write(Request(method, url or self.url, tuple(told)).encode())

    async def ask(self, method: str, url: str | None = None, **headers: str) -> Response:
        """A request and its response."""
        self.send(method, url, **headers)
        response = await asyncio.wait_for(self.responses.get(), LIMIT)
        assert response.sequence == str(self.number)
        return response

    async def describe(self) -> Response:
        """DESCRIBE, which must succeed."""
        response = await self.ask("DESCRIBE", Accept="application/sdp")
        assert response.status == 200, response
        self.description = sdp.parse_description(response.body)
        return response

    async def setup(self, track: str = "track1", channels: str = "0-1") -> Response:
        """SETUP of a track on this connection."""
        way = f"RTP/AVP/TCP;unicast;interleaved={channels}"
        return await self.ask("SETUP", f"{self.url}/{track}", Transport=way)

    async def play(self, **headers: str) -> Response:
        """DESCRIBE and SETUP where they are missing, then PLAY."""
        if not self.description:
            await self.describe()
            await self.setup()
        return await self.ask("PLAY", **headers)

    def units(self, codec: Codec, channel: int = 0, since: int = 0) -> list[list[bytes]]:
        """Access units of a video channel so far, from a packet on; nothing is lost on a connection."""
        reader = VideoAssembler(codec)
        found = [unit for each in self.packets.get(channel, [])[since:] if (unit := reader.feed(each)) is not None]
        assert reader.lost == 0
        return found

    def kinds(self, channel: int = 1) -> list[int]:
        """RTCP packet types on a channel."""
        return [kind for each in self.control.get(channel, []) for kind in rtcp.packet_kinds(each)]

    async def close(self) -> None:
        """End it."""
        if self.task is not None:
            self.task.cancel()
        self.writer.close()
