"""61006 and 61007: the connections on which cameras send media.

Source: ROP v1.0 wire specification, device-protocol 5, 6, 7 and 11.1; discrepancies C2.5, C2.8, C4.9.
"""

from __future__ import annotations

import asyncio
from typing import cast

import structlog

from rop_server.core.connection import STREAM_TCP, STREAM_TLS
from rop_server.core.hub import Hub
from rop_server.media.relay import Relay
from rop_server.net.gate import Ticket
from rop_server.net.lines import NONCE_LENGTH, Line
from rop_server.net.tls import peer_certificate
from rop_wire import messages
from rop_wire.auth import random_text, valid_uid
from rop_wire.commands import Command
from rop_wire.encrypted import ServerChannel, uid_hash
from rop_wire.errors import ProtocolError, WireError
from rop_wire.packet import Packet, PacketReader

log = structlog.get_logger("rop.net")

MAX_MEDIA_PACKET = 1024 * 1024
"""Data bytes of one core packet; the lengths have 32 bits (discrepancies C3.1)."""
_MEDIA = (Command.LIVE_START, Command.REPLAY_START)


class StreamLine(Line):
    """What both kinds share: handshake, then media until the inactivity limit."""

    __slots__ = ("_relay",)

    def __init__(self, kind: str, hub: Hub, relay: Relay, address: str, ticket: Ticket) -> None:
        super().__init__(kind, hub, address, ticket)
        self._relay = relay

    def _take(self, packets: list[Packet]) -> None:
        for packet in packets:
            if self.closed:
                return
            self.heartbeat_at = self._hub.clock.monotonic()
            if packet.command in _MEDIA and self.uid:
                recording = packet.command == Command.REPLAY_START
                self._relay.received(self, self.uid, packet.request_id, recording, packet.status, packet.payload)
            elif packet.command == Command.HANDSHAKE and packet.is_request:
                self._handshake(packet)
            else:
                self.close(f"command {packet.command} on a media connection")

    def _handshake(self, packet: Packet) -> None:
        try:
            told = messages.Handshake.decode(packet.payload)
        except WireError as error:
            self.close(f"protocol: {error}")
            return
        if not self.proves(told.uid):
            self.close("device_not_matched")
            return
        if not self.uid:
            self.uid = told.uid
            if not self._hub.admitted(self):
                self.close("refused")
                return
        self.heartbeat_limit = self._hub.settings.socket_timeout
        self.send(packet.reply(payload=self._answer(told)))
        log.debug("stream-connection", uid=self.uid, transport=self.transport_kind)

    def _answer(self, told: messages.Handshake) -> bytes:
        """The payload of the handshake's response."""
        return b""

    def _ending(self) -> None:
        self._relay.carrier_lost(self)


class StreamTlsLine(StreamLine):
    """A connection on 61006: mutual TLS, core packets. Media are accepted before the handshake, too."""

    __slots__ = ("_reader",)

    def __init__(self, hub: Hub, relay: Relay, address: str, ticket: Ticket) -> None:
        super().__init__(STREAM_TLS, hub, relay, address, ticket)
        self._reader = PacketReader(MAX_MEDIA_PACKET)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.certificate = peer_certificate(transport)
        if self.certificate is None:
            self.close("no UID in the certificate")
            return
        self.uid = self.certificate.uid
        self._hub.opened(self)
        self.heartbeat_limit = self._hub.settings.socket_timeout
        if not self._hub.admitted(self):
            self.close("refused")
            return
        self._ticket.release()

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        try:
            packets = self._reader.feed(data)
        except ProtocolError as error:
            self.close(f"protocol: {error}")
            return
        self._take(packets)

    def proves(self, uid: str) -> bool:
        return self.certificate is not None and self.certificate.uid == uid

    def send(self, packet: Packet) -> None:
        self._write(packet.encode())


class StreamTcpLine(StreamLine):
    """A connection on 61007: hello, then outer packets, encrypted or in clear as the camera likes."""

    __slots__ = ("_channel", "_greeted")

    def __init__(self, hub: Hub, relay: Relay, address: str, ticket: Ticket) -> None:
        super().__init__(STREAM_TCP, hub, relay, address, ticket)
        settings = hub.settings
        self._greeted = False
        self._channel = ServerChannel(
            settings.device_keys,
            settings.current_key_index,
            random_text(NONCE_LENGTH).encode(),
            settings.integrity,
            clear_allowed=True,
            max_length=MAX_MEDIA_PACKET,
        )

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
            self.heartbeat_at = self._hub.clock.monotonic()
            self._ticket.release()
        self._take(packets)

    def proves(self, uid: str) -> bool:
        return valid_uid(uid) and self._channel.uid_hash == uid_hash(uid)

    def send(self, packet: Packet) -> None:
        if not self.closed:
            self._write(self._channel.encode(packet))

    def _answer(self, told: messages.Handshake) -> bytes:
        interval = messages.heartbeat_interval_ms(told.network, told.operator)
        return messages.HandshakeReply(
            heartbeat_interval_ms=interval or int(self._hub.settings.socket_timeout * 500)
        ).encode()

    def _ending(self) -> None:
        super()._ending()
        if self._channel.findings:
            log.warning("integrity", uid=self.uid, findings=dict(self._channel.findings))
