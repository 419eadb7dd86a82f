"""A server whose every answer a test can bend, with real TLS, for one camera."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from rop_pki import Authority, create_intermediate, create_root
from rop_sim.camera import Camera
from rop_sim.device import Traits
from rop_sim.extras import Extras
from rop_wire import messages, provisioning
from rop_wire.auth import ca_hash
from rop_wire.commands import Command
from rop_wire.encrypted import ServerChannel, access_key, secret_access_key, uid_hash
from rop_wire.lan import SetupDocument
from rop_wire.packet import Packet, PacketReader

UID = "S1MTEST000000001"
KEY_INDEX, DEVICE_KEY = "indexindexindex1", "k" * 32
Script = Callable[["Talk"], Awaitable[None]]


async def until(what: str, read: Callable[[], Any], patience: float = 15.0) -> Any:
    """Wait for a condition; the deadline only bounds a failure."""
    deadline = time.monotonic() + patience
    never = asyncio.get_running_loop().create_future()
    while not (answer := read()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.wait([never], timeout=0.02)
    return answer


@dataclass
class Talk:
    """The server's end of one camera connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    channel: ServerChannel | None = None
    packets: PacketReader = field(default_factory=PacketReader)
    waiting: list[Packet] = field(default_factory=list)

    async def next(self) -> Packet:
        """The next packet of the camera."""
        while not self.waiting:
            data = await self.reader.read(65536)
            if not data:
                raise EOFError
            self.waiting += (self.channel or self.packets).feed(data)
            if self.channel is not None:
                self.writer.write(self.channel.outgoing())
        return self.waiting.pop(0)

    def send(self, packet: Packet) -> None:
        """A packet to the camera; header and payload separately, as the vendor's server writes them."""
        raw = packet.encode() if self.channel is None else self.channel.encode(packet)
        self.writer.write(raw[:24])
        self.writer.write(raw[24:])

    async def accept(self) -> Packet:
        """Answer the handshake as the protocol says."""
        first = await self.next()
        assert first.command == Command.HANDSHAKE
        self.send(first.reply(payload=messages.HandshakeReply(20_000).encode() if self.channel else b""))
        return first


async def behave(talk: Talk) -> None:
    """A server that does everything right."""
    await talk.accept()
    while True:
        packet = await talk.next()
        if packet.command == Command.HEARTBEAT:
            talk.send(packet.reply(payload=messages.HeartbeatReply.at(1_700_000_000.5).encode()))
        elif packet.command == Command.ALARM:
            talk.send(packet.reply())


@dataclass
class Bent:
    """The server. Change a member before the camera connects to bend it."""

    folder: Path
    authority: Authority
    signaling: Script = behave
    keep_alive: Script = behave
    chunked: bool = False
    refusal: provisioning.Refusal | None = None
    register_refusal: provisioning.Refusal | None = None
    certified_host: str = "127.0.0.1"
    asked: list[str] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    heartbeat_s: int = 20
    _servers: list[asyncio.Server] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        plain, mutual = self._context(False), self._context(True)
        for name, context, handler in (
            ("ca", plain, self._http(self._ca)),
            ("cert", plain, self._http(self._certificate)),
            ("register", mutual, self._http(self._registration)),
            ("signaling", mutual, self._device(False)),
            ("keepAlive", None, self._device(True)),
        ):
            server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=context)
            self.ports[name] = server.sockets[0].getsockname()[1]
            self._servers.append(server)

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def document(self, **changes: Any) -> SetupDocument:
        """What a tool hands over."""
        members: dict[str, Any] = {
            "host": "127.0.0.1",
            "get_ca_port": self.ports["ca"],
            "get_cert_port": self.ports["cert"],
            "register_port": self.ports["register"],
            "code": "AbCd1234",
            "ca_hash": ca_hash(self.authority.root_pem),
            "time": 1_700_000_000,
        }
        return SetupDocument(**(members | changes))

    def _context(self, mutual: bool) -> ssl.SSLContext:
        own = Authority(
            self.authority.root_pem,
            self.authority.intermediate_pem,
            (self.folder / "e1.key").read_bytes(),
            self.certified_host,
        )
        made = own.server_certificate(90, 30, datetime.now(UTC))
        (self.folder / "server.pem").write_bytes(made.chain_pem + made.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem")
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self.authority.root_pem.decode())
        return context

    def _ca(self, _: bytes) -> bytes:
        return provisioning.CaReply.at(self.authority.root_pem.decode(), 1_700_000_000.2).encode()

    def _certificate(self, body: bytes) -> bytes:
        request = provisioning.CertificateRequest.decode(body)
        self.asked.append(f"cert {request.code}")
        if self.refusal is not None:
            return self.refusal.encode()
        made = self.authority.device_certificate(request.uid or "", 180, datetime.now(UTC))
        return provisioning.CertificateReply(made.chain_pem.decode(), "long.code", made.key_pem.decode()).encode()

    def _registration(self, body: bytes) -> bytes:
        uid = provisioning.RegistrationRequest.decode(body).uid or ""
        self.asked.append("register")
        if self.register_refusal is not None:
            return self.register_refusal.encode()
        secret = secret_access_key(DEVICE_KEY, uid_hash(uid))
        key = access_key(KEY_INDEX, uid)
        ports = (self.ports["keepAlive"], self.ports["signaling"])
        return provisioning.RegistrationReply(key, secret, *ports, self.heartbeat_s).encode()

    def _http(self, answer: Callable[[bytes], bytes]) -> Callable[..., Awaitable[None]]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, EOFError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length:")[2].split("\r\n")[0] or 0)
                body = answer(await reader.readexactly(length))
                # As the vendor's server: an odd Connection header, no Content-Type, then an abrupt end.
                if self.chunked:
                    half = len(body) // 2
                    parts = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:half], body[half:]))
                    writer.write(b"HTTP/1.1 200 OK\r\nConnection: closed\r\nTransfer-Encoding: chunked\r\n\r\n")
                    writer.write(parts + b"0\r\n\r\n")
                else:
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nConnection: closed\r\nContent-Length: %d\r\n\r\n" % len(body)
                    )
                    writer.write(body)
                await writer.drain()
            writer.transport.abort()

        return handle

    def _device(self, encrypted: bool) -> Callable[..., Awaitable[None]]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            channel = ServerChannel({KEY_INDEX: DEVICE_KEY}, KEY_INDEX, b"n" * 32) if encrypted else None
            with suppress(OSError, EOFError):
                await (self.keep_alive if encrypted else self.signaling)(Talk(reader, writer, channel))
            writer.transport.abort()

        return handle


@pytest.fixture(scope="session")
def hierarchy() -> tuple[bytes, bytes, bytes]:
    now = datetime.now(UTC)
    root_key, root = create_root(now)
    e1_key, e1 = create_intermediate(root_key, root, "127.0.0.1", now)
    return root, e1, e1_key


@pytest_asyncio.fixture
async def server(tmp_path: Path, hierarchy: tuple[bytes, bytes, bytes]) -> AsyncIterator[Bent]:
    root, e1, e1_key = hierarchy
    (tmp_path / "e1.key").write_bytes(e1_key)
    one = Bent(tmp_path, Authority(root, e1, e1_key, "127.0.0.1"))
    await one.start()
    yield one
    await one.stop()


@pytest_asyncio.fixture
async def run_camera(tmp_path: Path) -> AsyncIterator[Callable[..., Camera]]:
    """Cameras that live until the test ends."""
    lives: list[asyncio.Task[None]] = []

    def run(extras: Extras | None = None, **traits: Any) -> Camera:
        one = Camera(tmp_path / "camera", Traits(UID, **traits), reconnect_min=0.05, extras=extras)
        lives.append(asyncio.get_running_loop().create_task(one.run()))
        return one

    yield run
    for life in lives:
        life.cancel()
    ended = await asyncio.gather(*lives, return_exceptions=True)
    assert [e for e in ended if e is not None and not isinstance(e, asyncio.CancelledError)] == []


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Awaitable[Any]]:
    return until


@pytest.fixture
def events(tmp_path: Path) -> Callable[[str], list[dict[str, Any]]]:
    """Lines of the camera's log."""

    def read(name: str) -> list[dict[str, Any]]:
        lines = (tmp_path / "camera" / "device.log").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == name]

    return read
