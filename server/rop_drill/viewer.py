"""A player that counts the pictures of a stream. Source: wire specification, client-api 3."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from rop_wire.errors import WireError
from rop_wire.nal import Codec, is_random_access
from rop_wire.rtp import VIDEO_PAYLOAD_TYPE, RtpPacket, VideoAssembler
from rop_wire.rtsp import Interleaved, MessageReader, Request, Response


class ViewError(Exception):
    """The stream cannot be seen; the text says why and holds no address."""


@dataclass
class Viewer:
    """One RTSP connection. Interleaved packets of the first track are put together to pictures."""

    url: str
    pictures: int = 0
    began: bool = False
    _sequence: int = 0
    _messages: MessageReader = field(default_factory=MessageReader)
    _assembler: VideoAssembler = field(default_factory=lambda: VideoAssembler(Codec.H264))
    _reader: asyncio.StreamReader = field(init=False)
    _writer: asyncio.StreamWriter = field(init=False)
    _responses: list[Response] = field(default_factory=list)

    async def watch(self, pictures: int) -> None:
        """Play until so many pictures came, the first one a key picture. Raises ViewError."""
        parts = urlsplit(self.url)
        try:
            self._reader, self._writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                await self._play(pictures)
            finally:
                self._writer.close()
                with suppress(OSError):
                    await self._writer.wait_closed()
        except (OSError, WireError) as failure:
            raise ViewError(f"{type(failure).__name__}: {failure}") from None

    async def _play(self, pictures: int) -> None:
        await self._ask("DESCRIBE", self.url, ("Accept", "application/sdp"))
        way = "RTP/AVP/TCP;unicast;interleaved=0-1"
        told = await self._ask("SETUP", f"{self.url}/track1", ("Transport", way))
        session = (told.header("Session") or "").partition(";")[0]
        await self._ask("PLAY", self.url, ("Session", session))
        while self.pictures < pictures:
            await self._read()

    async def _ask(self, method: str, url: str, header: tuple[str, str]) -> Response:
        self._sequence += 1
        request = Request(method, url, (("CSeq", str(self._sequence)), header))
        self._writer.write(request.encode())
        while not self._responses:
            await self._read()
        response = self._responses.pop()
        if response.status != 200:
            raise ViewError(f"{method} was answered with {response.status}")
        return response

    async def _read(self) -> None:
        data = await self._reader.read(1 << 16)
        if not data:
            raise ViewError(f"the stream ended after {self.pictures} pictures")
        for message in self._messages.feed(data):
            if isinstance(message, Response):
                self._responses.append(message)
            elif isinstance(message, Interleaved) and message.channel == 0:
                self._take(RtpPacket.decode(message.data))

    def _take(self, packet: RtpPacket) -> None:
        units = self._assembler.feed(packet) if packet.payload_type == VIDEO_PAYLOAD_TYPE else None
        if units is None:
            return
        self.began = self.began or any(is_random_access(Codec.H264, unit) for unit in units)
        if self.began:
            self.pictures += 1
