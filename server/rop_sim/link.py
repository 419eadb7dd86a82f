"""Connections to the server as asyncio protocols: signaling (61005) and keep-alive (61003).

One object per connection, no task: the owner drives heartbeats and hears of packets and the end.
"""

import asyncio
import os
from collections.abc import Callable

from rop_wire.commands import Command
from rop_wire.encrypted import HELLO_STALE_KEY, DeviceChannel
from rop_wire.errors import ProtocolError
from rop_wire.packet import REQUEST, Packet, PacketReader

FINISH_SECONDS = 2.0


class Link(asyncio.Protocol):
    """Common part: numbering, sending, the end. `on_packet` gets requests and responses of the server."""

    __slots__ = ("_transport", "asked", "ended", "lost", "on_end", "on_packet", "ready", "request_id", "violation")
    keep_alive = False

    def __init__(
        self, on_packet: Callable[["Link", Packet], None], on_end: Callable[["Link"], None] | None = None
    ) -> None:
        self.on_packet = on_packet
        self.on_end = on_end
        self.request_id = 0
        self.asked: dict[int, int] = {}
        self.ready = False
        self.lost = False
        self.violation: str | None = None
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the server."""
        self._transport = transport  # type: ignore[assignment]
        self.ended = asyncio.get_running_loop().create_future()
        self.greet()

    def greet(self) -> None:
        """What to send first."""

    def data_received(self, data: bytes) -> None:
        """Packets of the server."""
        try:
            for packet in self.decode(data):
                self.on_packet(self, packet)
        except ProtocolError as failure:
            self.violation = str(failure)
            self.close()

    def decode(self, data: bytes) -> list[Packet]:
        """Packets after these bytes."""
        raise ProtocolError(f"{len(data)} bytes on a bare link")

    def encode(self, packet: Packet) -> bytes:
        """Bytes of a packet."""
        return packet.encode()

    def send(self, packet: Packet) -> None:
        """Send one packet, unless the connection is going."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self.encode(packet))

    def ask(self, command: Command, payload: bytes = b"") -> None:
        """Send a request of ours; all but the network report are answered."""
        self.request_id += 1
        if command != Command.NETWORK_REPORT:
            self.asked[self.request_id] = command
        self.send(Packet(REQUEST, command, self.request_id, payload=payload))

    def write_raw(self, data: bytes) -> None:
        """Write bytes that are no packet, to rehearse faults."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    @property
    def waiting(self) -> int:
        """Bytes that are not sent yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def reading(self) -> bool:
        """Whether it reads what the server sends."""
        return self._transport is not None and self._transport.is_reading()

    def pause(self, reading: bool) -> None:
        """Stop or go on reading."""
        if self._transport is not None and not self.closing and self.reading != reading:
            (self._transport.resume_reading if reading else self._transport.pause_reading)()

    def finish(self) -> None:
        """End the connection after what was sent."""
        if self._transport is not None:
            self._transport.close()
            # A TLS end waits for the other side's word; a server may never say it.
            asyncio.get_running_loop().call_later(FINISH_SECONDS, self._transport.abort)

    @property
    def closing(self) -> bool:
        """Whether the connection has ended or is about to."""
        return self.lost or (self._transport is not None and self._transport.is_closing())

    def close(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self.lost = True
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)
        if self.on_end is not None:
            self.on_end(self)


class SignalingLink(Link):
    """Mutual TLS, core packets."""

    __slots__ = ("_handshake", "_reader")

    def __init__(
        self,
        handshake: bytes,
        on_packet: Callable[[Link, Packet], None],
        on_end: Callable[[Link], None] | None = None,
    ) -> None:
        super().__init__(on_packet, on_end)
        self._handshake = handshake
        self._reader = PacketReader()

    def greet(self) -> None:
        """Handshake."""
        self.ask(Command.HANDSHAKE, self._handshake)

    def decode(self, data: bytes) -> list[Packet]:
        """Core packets."""
        return self._reader.feed(data)


class KeepAliveLink(Link):
    """Encrypted TCP. `stale`: the server wants a new registration."""

    __slots__ = ("_channel", "_greeted", "_handshake")
    keep_alive = True

    def __init__(
        self,
        access_key: str,
        secret: str,
        handshake: bytes,
        on_packet: Callable[[Link, Packet], None],
        on_end: Callable[[Link], None] | None = None,
    ) -> None:
        super().__init__(on_packet, on_end)
        self._handshake = handshake
        self._channel = DeviceChannel(access_key, secret, os.urandom(32))
        self._greeted = False

    @property
    def stale(self) -> bool:
        """Whether the key index is no longer current."""
        return self._channel.status == HELLO_STALE_KEY

    def greet(self) -> None:
        """Hello."""
        if self._transport is not None:
            self._transport.write(self._channel.hello())

    def decode(self, data: bytes) -> list[Packet]:
        """Core packets; the handshake follows the server's hello."""
        packets = self._channel.feed(data)
        if self._channel.established and not self._greeted:
            self._greeted = True
            self.ask(Command.HANDSHAKE, self._handshake)
        elif self.stale:
            self.close()
        return packets

    def encode(self, packet: Packet) -> bytes:
        """One or more outer packets."""
        return self._channel.encode(packet)
