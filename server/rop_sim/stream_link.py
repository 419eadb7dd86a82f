"""Connections that carry media: 61006 (TLS) and 61007 (encrypted TCP, everything or the heads of frames)."""

import asyncio
import ssl
from collections.abc import Callable

from rop_sim.identity import Identity, IdentityStore, check_host
from rop_sim.link import KeepAliveLink, Link, SignalingLink
from rop_sim.watch import response_fault
from rop_wire.commands import Command
from rop_wire.encrypted import MediaMode
from rop_wire.media import Frame, FrameKind
from rop_wire.packet import Packet

CONNECT_SECONDS = 10.0
# More than this waiting in the transport: the server or the network is too slow for us.
FULL = 2 * 1024 * 1024


class StreamLinkError(Exception):
    """The connection ended before its handshake was answered."""


class TlsStreamLink(SignalingLink):
    """61006."""

    mode = MediaMode.TLS


class TcpStreamLink(KeepAliveLink):
    """61007. `mode` says which parts of a frame travel encrypted."""

    mode = MediaMode.SELECTIVE

    def send_piece(self, packet: Packet, offset: int, key_frame: bool) -> None:
        """Send a media packet whose payload begins at an offset of its frame."""
        if self._transport is not None and not self._transport.is_closing():
            border = self.mode.clear_from(offset, key_frame)
            self._transport.write(self._channel.encode(packet, clear_from=border))


class Uplink:
    """One media connection: opened once, shared by all streams of its mode.

    At its end `fault` tells what the server did wrong, `refused` that it answered no handshake, `stale` that it
    wants a new registration.
    """

    def __init__(self, mode: MediaMode, port: int, on_end: Callable[["Uplink"], None]) -> None:
        self.mode = mode
        self.port = port
        self.users: set[int] = set()
        self.fault: str | None = None
        self.refused = False
        self.stale = False
        self._on_end = on_end
        self._link: TlsStreamLink | TcpStreamLink | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, uid_handshake: bytes, identity: Identity, store: IdentityStore) -> None:
        """Connect and wait for the handshake's answer. Raises OSError, TimeoutError, StreamLinkError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            if self.mode is MediaMode.TLS:
                link: TlsStreamLink | TcpStreamLink = TlsStreamLink(uid_handshake, self._packet, self._ended)
                self._link = link
                context = store.client_context(identity)
                transport, _ = await loop.create_connection(
                    lambda: link, identity.reach, self.port, ssl=context, server_hostname=identity.host
                )
                try:
                    check_host(identity.host, transport.get_extra_info("peercert"))
                except ssl.SSLError:
                    link.close()
                    raise
            else:
                keys = identity.access_key or "", identity.secret or ""
                link = TcpStreamLink(*keys, uid_handshake, self._packet, self._ended)
                link.mode = self.mode
                self._link = link
                await loop.create_connection(lambda: link, identity.reach, self.port)
            await asyncio.shield(self._ready)

    async def wait_open(self) -> None:
        """Wait until another stream has opened it. Raises StreamLinkError."""
        await asyncio.shield(self._ready)

    def _packet(self, link: Link, packet: Packet) -> None:
        """The handshake's answer is all that a server may send."""
        fault = (
            f"command {packet.command} on a media connection"
            if packet.is_request
            else response_fault(packet, link.asked, link.keep_alive)
        )
        if fault is not None:
            self.fault = fault
            self.close()
        elif packet.command == Command.HANDSHAKE and not self._ready.done():
            link.ready = True
            self._ready.set_result(None)

    def _ended(self, link: Link) -> None:
        self.fault = self.fault or link.violation
        self.stale = isinstance(link, KeepAliveLink) and link.stale
        if not self._ready.done():
            self.refused = True
            self._ready.set_exception(StreamLinkError("the media connection ended at its handshake"))
            self._ready.exception()  # told to those who wait; nobody may be waiting
        self._on_end(self)

    @property
    def usable(self) -> bool:
        """Whether frames can be sent, or will be."""
        return self._link is None or not self._link.closing

    @property
    def full(self) -> bool:
        """Whether more waits to be sent than a camera can hold."""
        return self._link is not None and self._link.waiting > FULL

    def send(self, frame: Frame, handle: int, replay: bool, status: int | None) -> None:
        """Send one frame in as many packets as it needs."""
        link, offset = self._link, 0
        for packet in frame.packets(handle, replay, status):
            if isinstance(link, TcpStreamLink):
                link.send_piece(packet, offset, frame.kind is FrameKind.KEY)
            elif link is not None:
                link.send(packet)
            offset += len(packet.payload)

    def close(self) -> None:
        """End the connection at once."""
        if self._link is not None:
            self._link.close()

    def give_up(self) -> None:
        """End a connection that did not come up, and tell those who wait for it."""
        if not self._ready.done():
            self._ready.set_exception(StreamLinkError("the media connection did not come up"))
            self._ready.exception()
            self._on_end(self)
        self.close()

    def finish(self) -> None:
        """End the connection after what was sent."""
        if self._link is not None:
            self._link.finish()

    def send_garbage(self, data: bytes) -> None:
        """Write bytes that are no packet."""
        if self._link is not None:
            self._link.write_raw(data)
