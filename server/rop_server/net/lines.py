"""61005 and 61003: the two device connections the core works with.

Source: ROP v1.0 wire specification, device-protocol 3, 5 and 6; discrepancies C2.5, C2.8, C3.1.
"""

from __future__ import annotations

import asyncio
from typing import cast

import structlog

from rop_server.core.connection import KEEP_ALIVE, SIGNALING, Connection
from rop_server.core.hub import Hub
from rop_server.net.gate import Ticket
from rop_server.net.tls import peer_certificate
from rop_wire.auth import random_text, valid_uid
from rop_wire.encrypted import ServerChannel, uid_hash
from rop_wire.errors import ProtocolError
from rop_wire.packet import MAX_DATA, Packet, PacketReader

log = structlog.get_logger("rop.net")

NONCE_LENGTH = 32
LINGER = 5.0
# TLS would buffer four times as much for each device that is sent firmware.
WRITE_BUFFER = 131_072


class Line(Connection, asyncio.Protocol):
    """What both kinds share: the transport, flow control and the one end of a connection."""

    __slots__ = ("_drained", "_hub", "_ticket", "_transport", "closed")

    def __init__(self, kind: str, hub: Hub, address: str, ticket: Ticket) -> None:
        super().__init__(kind, address, hub.clock.monotonic())
        self._hub = hub
        self._ticket = ticket
        self._transport: asyncio.Transport | None = None
        self._drained: asyncio.Future[None] | None = None
        self.closed = False

    def _write(self, data: bytes) -> None:
        if not self.closed and self._transport is not None:
            self._transport.write(data)

    def close(self, reason: str) -> None:
        """End it: the core hears at once, the peer in an orderly way."""
        transport = self._transport
        if self.closed or transport is None:
            return
        self.closed = True
        self._no_more_waiting()
        self._ending()
        self._hub.lost(self, reason)
        transport.close()
        if transport.get_write_buffer_size():  # a peer that does not read must not keep us
            asyncio.get_running_loop().call_later(LINGER, transport.abort)

    def abort(self) -> None:
        """Drop it."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ticket.release()
        self._transport = None
        if not self.closed:
            self.closed = True
            self._no_more_waiting()
            self._ending()
            self._hub.lost(self, "closed by peer" if exc is None else "lost")
        self._hub.gone(self)

    def _ending(self) -> None:
        """Called once, when the connection is of no use any more."""

    def pause_writing(self) -> None:
        # A device that does not read gets no further chance to make us write: its heartbeats wait
        # unread, and the heartbeat limit ends the connection.
        if self._transport is not None and not self.closed:
            self._transport.pause_reading()
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        self._no_more_waiting()
        if self._transport is not None and not self.closed:
            self._transport.resume_reading()

    async def drained(self) -> None:
        """Return once the peer has taken what was sent, or the connection is going away."""
        if self._drained is not None:
            await asyncio.shield(self._drained)

    def _no_more_waiting(self) -> None:
        waiting, self._drained = self._drained, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _deliver(self, packets: list[Packet]) -> None:
        for packet in packets:
            if self.closed:
                return
            self._hub.received(self, packet)


class TlsLine(Line):
    """Mutual TLS, core packets: the identity is the certificate's."""

    __slots__ = ("_reader",)

    def __init__(self, kind: str, hub: Hub, address: str, ticket: Ticket) -> None:
        super().__init__(kind, hub, address, ticket)
        self._reader = PacketReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(WRITE_BUFFER)
        self.certificate = peer_certificate(transport)
        if self.certificate is None:
            self.close("no UID in the certificate")
            return
        self.uid = self.certificate.uid
        self._hub.opened(self)
        self._identified()
        if not self._hub.proved(self, uid_hash(self.uid)):
            self.close("too many connections")
            return
        if not self._hub.admitted(self):
            self.close("refused")
            return
        self._ticket.release()

    def _identified(self) -> None:
        """Called once, when the certificate is known."""

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        try:
            packets = self._reader.feed(data)
        except ProtocolError as error:
            self.close(f"protocol: {error}")
            return
        self._deliver(packets)

    def proves(self, uid: str) -> bool:
        return self.certificate is not None and self.certificate.uid == uid

    def send(self, packet: Packet) -> None:
        self._write(packet.encode())


class EncryptedLine(Line):
    """Hello, then outer packets: the identity is the access key's."""

    __slots__ = ("_channel", "_greeted")

    def __init__(self, kind: str, hub: Hub, address: str, ticket: Ticket) -> None:
        super().__init__(kind, hub, address, ticket)
        self._greeted = False
        self._channel = server_channel(hub)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._hub.opened(self)

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        channel = self._channel
        try:
            packets = channel.feed(data)
        except ProtocolError as error:
            self.close(f"protocol: {error}")
            return
        if not self._greeted:
            self._write(channel.outgoing())
            if channel.refused:
                self.close(channel.refused)
                return
            if not channel.established:
                return
            self._greeted = True
            self.key_index = channel.key_index or ""
            self.heartbeat_at = self._hub.clock.monotonic()
            self._ticket.release()
            if not self._hub.proved(self, channel.uid_hash or ""):
                self.close("too many connections")
                return
        self._deliver(packets)

    def proves(self, uid: str) -> bool:
        return valid_uid(uid) and self._channel.uid_hash == uid_hash(uid)

    def send(self, packet: Packet) -> None:
        if not self.closed:
            self._write(self._channel.encode(packet))

    def _ending(self) -> None:
        super()._ending()
        if self._channel.findings:
            findings = dict(self._channel.findings)
            log.warning("integrity", uid=self.uid, connection=self.name, findings=findings)


def server_channel(hub: Hub, clear_allowed: bool = False, max_length: int = MAX_DATA) -> ServerChannel:
    """The server's side of encrypted TCP with the keys of now."""
    settings = hub.settings
    return ServerChannel(
        settings.device_keys,
        settings.current_key_index,
        random_text(NONCE_LENGTH).encode(),
        settings.integrity,
        clear_allowed,
        max_length,
        lambda index, device: hub.key_turns.due(index, device, hub.settings.current_key_index),
    )


class SignalingLine(TlsLine):
    """A connection on 61005."""

    __slots__ = ()

    def __init__(self, hub: Hub, address: str, ticket: Ticket) -> None:
        super().__init__(SIGNALING, hub, address, ticket)


class KeepAliveLine(EncryptedLine):
    """A connection on 61003."""

    __slots__ = ()

    def __init__(self, hub: Hub, address: str, ticket: Ticket) -> None:
        super().__init__(KEEP_ALIVE, hub, address, ticket)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.announced and not self.closed and self.uid not in self._hub.wakes and self._outdated():
            self.close("key index changed")

    def _outdated(self) -> bool:
        """Asked with every heartbeat: the device's turn to come again with the current key index."""
        hub = self._hub
        return hub.key_turns.due(self.key_index, self.device, hub.settings.current_key_index)
