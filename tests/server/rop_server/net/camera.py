"""A camera for the tests: the device side of `rop_wire` over real sockets and real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path

from rop_wire import messages, provisioning
from rop_wire.auth import random_text
from rop_wire.commands import Command
from rop_wire.encrypted import DeviceChannel
from rop_wire.packet import Packet, PacketReader

LIMIT = 8.0


def lax_context() -> ssl.SSLContext:
    """Trusts nobody in particular, as a camera before it has the root."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def camera_context(root_pem: str, chain_pem: str, key_pem: str, folder: Path) -> ssl.SSLContext:
    """Verifies the server by the root and presents leaf and L2 CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=root_pem)
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_text(chain_pem)
    key.write_text(key_pem)
    context.load_cert_chain(chain, key)
    return context


async def https(port: int, request: bytes, context: ssl.SSLContext, *, read_all: bool = True) -> bytes:
    """Send raw bytes to an HTTPS port, return everything the server sends before it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="127.0.0.1")
    try:
        writer.write(request)
        await writer.drain()
        return await asyncio.wait_for(reader.read() if read_all else reader.read(65536), LIMIT)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


def post(path: str, body: bytes) -> bytes:
    """A POST request."""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def split(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a response."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split(" ")[1]), headers, body


class Link:
    """One device connection; incoming packets are answered by `answers` or queued."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[Packet] = asyncio.Queue()
        # A payload, a status, a function that is given the packet, or None for silence.
        self.answers: dict[int, bytes | int | Callable[[Packet], None] | None] = {}
        self.seen: list[Packet] = []
        self.ended = asyncio.Event()
        self._number = 1000
        self._tasks: list[asyncio.Task[None]] = []
        self.writer: asyncio.StreamWriter

    def start(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin to read."""
        self.writer = writer
        self._tasks.append(asyncio.create_task(self._read(reader)))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            while data := await reader.read(65536):
                for packet in self.decode(data):
                    self._take(packet)
        self.ended.set()

    def decode(self, data: bytes) -> list[Packet]:
        """Packets in these bytes."""
        raise AssertionError("abstract")

    def encode(self, packet: Packet) -> bytes:
        """Bytes of a packet."""
        raise AssertionError("abstract")

    def _take(self, packet: Packet) -> None:
        self.seen.append(packet)
        if not packet.is_request:
            self.inbox.put_nowait(packet)
            return
        answer = self.answers.get(packet.command, 400)
        if callable(answer):
            answer(packet)
        elif isinstance(answer, int):
            self.send(packet.reply(status=answer))
        elif answer is not None:
            self.send(packet.reply(payload=answer))

    def send(self, packet: Packet) -> None:
        """Send a packet."""
        self.writer.write(self.encode(packet))

    async def ask(self, command: int, payload: bytes = b"") -> Packet:
        """Send a request of the device and wait for its response."""
        self._number += 1
        self.send(Packet(0, command, self._number, 200, payload))
        while True:
            packet = await asyncio.wait_for(self.inbox.get(), LIMIT)
            if packet.request_id == self._number:
                return packet

    async def handshake(self, uid: str, **told: str) -> Packet:
        """Announce the device."""
        return await self.ask(Command.HANDSHAKE, messages.Handshake(uid, **told).encode())

    async def close(self) -> None:
        """End the connection and the reader."""
        self.writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.CancelledError):
            await asyncio.wait_for(self.writer.wait_closed(), LIMIT)


class SignalingLink(Link):
    """61005."""

    def __init__(self) -> None:
        super().__init__()
        self._packets = PacketReader()

    def decode(self, data: bytes) -> list[Packet]:
        return self._packets.feed(data)

    def encode(self, packet: Packet) -> bytes:
        return packet.encode()


class KeepAliveLink(Link):
    """61003."""

    def __init__(self, access_key: str, secret: str) -> None:
        super().__init__()
        self.channel = DeviceChannel(access_key, secret, random_text(32).encode())
        self.greeted = asyncio.Event()

    def decode(self, data: bytes) -> list[Packet]:
        packets = self.channel.feed(data)
        if self.channel.status is not None:
            self.greeted.set()
        return packets

    def encode(self, packet: Packet) -> bytes:
        return self.channel.encode(packet)


class Camera:
    """A device with an identity; `folder` keeps its certificate."""

    def __init__(self, uid: str, ports: dict[str, int], folder: Path, root_pem: str) -> None:
        self.uid = uid
        self.ports = ports
        self.folder = folder
        self.root_pem = root_pem
        self.context: ssl.SSLContext
        self.certificate: provisioning.CertificateReply
        self.keys: provisioning.RegistrationReply
        self.links: list[Link] = []

    async def certify(self, code: str) -> provisioning.CertificateReply | provisioning.Refusal:
        """61001."""
        body = provisioning.CertificateRequest(self.uid, code).encode()
        answer = await https(self.ports["getCertHttps"], post(provisioning.CERTIFICATE_PATH, body), lax_context())
        reply = provisioning.CertificateReply.decode(split(answer)[2])
        if isinstance(reply, provisioning.CertificateReply):
            self.certificate = reply
            self.context = camera_context(self.root_pem, reply.cert, reply.key, self.folder)
        return reply

    async def register(self) -> provisioning.RegistrationReply:
        """61002."""
        body = provisioning.RegistrationRequest(self.uid).encode()
        answer = await https(self.ports["registerHttps"], post(provisioning.REGISTRATION_PATH, body), self.context)
        reply = provisioning.RegistrationReply.decode(split(answer)[2])
        assert isinstance(reply, provisioning.RegistrationReply)
        self.keys = reply
        return reply

    async def enrol(self, code: str) -> None:
        """Certificate and keys."""
        assert isinstance(await self.certify(code), provisioning.CertificateReply)
        await self.register()

    async def signaling(self, *, hello: bool = True, **told: str) -> SignalingLink:
        """A connection on 61005, with the handshake unless `hello` is False."""
        link = SignalingLink()
        link.start(
            *await asyncio.open_connection(
                "127.0.0.1",
                self.ports["signalingTLS"],
                ssl=self.context,
                server_hostname="127.0.0.1",
            )
        )
        self.links.append(link)
        if hello:
            told = {"family": "powered", "model": "RLC-1", "firmware": "v1", **told}
            assert (await link.handshake(self.uid, **told)).status == 200
        return link

    async def keep_alive(
        self, *, hello: bool = True, keys: tuple[str, str] | None = None, **told: str
    ) -> KeepAliveLink:
        """A connection on 61003 with the hello, and the handshake unless `hello` is False."""
        link = KeepAliveLink(*(keys or (self.keys.access_key, self.keys.secret_access_key)))
        link.start(*await asyncio.open_connection("127.0.0.1", self.ports["keepAliveTCP"]))
        self.links.append(link)
        link.writer.write(link.channel.hello())
        await asyncio.wait_for(link.greeted.wait(), LIMIT)
        if hello:
            told = {"family": "battery", "model": "Argus", "firmware": "v1", **told}
            reply = await link.handshake(self.uid, **told)
            assert messages.HandshakeReply.decode(reply.payload).heartbeat_interval_ms > 0
        return link

    async def close(self) -> None:
        """End every connection."""
        for link in self.links:
            await link.close()
