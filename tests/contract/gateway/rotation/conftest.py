"""Players of RTSPS that look at every packet, and pairs of certificates for a gateway."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rop_wire.nal import Codec
from rop_wire.rtp import RtpPacket, VideoAssembler
from rop_wire.rtsp import Interleaved, MessageReader, Request, Response

LIMIT = 60.0


@dataclass
class Player:
    """One viewer of one address: how many pictures came whole, what was lost, and whether it was dropped."""

    url: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    messages: MessageReader = field(default_factory=MessageReader)
    responses: asyncio.Queue[Response] = field(default_factory=asyncio.Queue)
    video: VideoAssembler = field(default_factory=lambda: VideoAssembler(Codec.H264))
    sequence: int | None = None
    pictures: int = 0
    gaps: int = 0
    number: int = 0
    task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: str, port: int, host: str, context: ssl.SSLContext) -> Player:
        """Connect, verify the gateway, and play."""
        made = cls(url, *await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host))
        made.task = asyncio.create_task(made._read())
        way = "RTP/AVP/TCP;unicast;interleaved=0-1"
        for method, target, headers in (
            ("DESCRIBE", url, {"Accept": "application/sdp"}),
            ("SETUP", f"{url}/track1", {"Transport": way}),
            ("PLAY", url, {}),
        ):
            answer = await made.ask(method, target, headers)
            assert answer.status == 200, (method, answer)
        return made

    async def ask(self, method: str, target: str, headers: dict[str, str]) -> Response:
        """A request and its response."""
        self.number += 1
        told = (("CSeq", str(self.number)), *headers.items())
        self.writer.write(Request(method, target, told).encode())
        return await asyncio.wait_for(self.responses.get(), LIMIT)

    @property
    def serial(self) -> str:
        """Serial of the certificate that this connection began with."""
        told: ssl.SSLObject = self.writer.get_extra_info("ssl_object")
        return str((told.getpeercert() or {})["serialNumber"]).lstrip("0")

    @property
    def dropped(self) -> bool:
        """Whether the connection ended."""
        return self.task is None or self.task.done()

    @property
    def lost(self) -> int:
        """Packets that are missing between the first and the newest."""
        return self.gaps + self.video.lost

    async def _read(self) -> None:
        while data := await self.reader.read(1 << 16):
            for message in self.messages.feed(data):
                if isinstance(message, Response):
                    self.responses.put_nowait(message)
                elif isinstance(message, Interleaved) and message.channel == 0:
                    self._packet(RtpPacket.decode(message.data))

    def _packet(self, packet: RtpPacket) -> None:
        if self.sequence is not None and packet.sequence != (self.sequence + 1) % 65536:
            self.gaps += 1
        self.sequence = packet.sequence
        if self.video.feed(packet) is not None:
            self.pictures += 1

    async def close(self) -> None:
        """Leave."""
        self.writer.close()
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


class ServerPairs:
    """Pairs for a gateway, made by openssl as another authority makes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.chain, self.key = folder / "served.pem", folder / "served.key"
        self.authority = folder / "others-ca.pem"
        self._run("req", "-x509", *self._new("ca.key"), "-out", self.authority.name, "-subj", "/CN=Other CA")

    def _new(self, key: str) -> tuple[str, ...]:
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-days", "60")

    def _run(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self._folder, capture_output=True, check=True)

    def renew(self, host: str, serial: int, *, key: bool = True) -> str:
        """A new pair in the two files, one after the other; its serial as hex. `key` False: the old key stays."""
        made = self._new("new.key")[:-2]
        self._run("req", *made, "-out", "new.csr", "-subj", "/CN=gateway", "-addext", f"subjectAltName=DNS:{host}")
        issuer = ("-CA", self.authority.name, "-CAkey", "ca.key", "-set_serial", str(serial), "-days", "60")
        self._run("x509", "-req", "-in", "new.csr", *issuer, "-copy_extensions", "copy", "-out", "new.pem")
        (self._folder / "new.pem").replace(self.chain)
        if key:
            (self._folder / "new.key").replace(self.key)
        return f"{serial:X}"


@pytest.fixture
def server_pairs(short_path: Path) -> ServerPairs:
    """A pair of files that somebody else renews: `server_pairs.renew(host, serial)`."""
    return ServerPairs(short_path)


@pytest.fixture
def player() -> type[Player]:
    """A viewer of RTSPS: `await player.open(url, port, host, context)`."""
    return Player
