"""61006 and 61007: the connections on which cameras send media.

Source: ROP v1.0 wire specification, device-protocol 5, 6, 7 and 11.1; discrepancies C2.5, C2.8, C4.9.
"""

from __future__ import annotations

import structlog

from rop_server.core.connection import STREAM_TCP, STREAM_TLS
from rop_server.core.hub import Hub
from rop_server.media.relay import Relay
from rop_server.net.gate import Ticket
from rop_server.net.lines import EncryptedLine, Line, TlsLine, server_channel
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.errors import WireError
from rop_wire.packet import Packet, PacketReader

log = structlog.get_logger("rop.net")

MAX_MEDIA_PACKET = 1024 * 1024
"""Data bytes of one core packet; the lengths have 32 bits (discrepancies C3.1)."""
_MEDIA = (Command.LIVE_START, Command.REPLAY_START)


class StreamLine(Line):
    """What both kinds share: handshake, then media until the inactivity limit.

    Without slots, so that it can be joined with either framing; there are few of these.
    """

    _relay: Relay

    def _deliver(self, packets: list[Packet]) -> None:
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
        log.info("stream-connection", uid=self.uid, connection=self.name)

    def _answer(self, told: messages.Handshake) -> bytes:
        """The payload of the handshake's response."""
        return b""

    def _ending(self) -> None:
        super()._ending()
        self._relay.carrier_lost(self)


class StreamTlsLine(StreamLine, TlsLine):
    """A connection on 61006. Media are accepted before the handshake, too."""

    def __init__(self, hub: Hub, relay: Relay, address: str, ticket: Ticket) -> None:
        super().__init__(STREAM_TLS, hub, address, ticket)
        self._relay = relay
        self._reader = PacketReader(MAX_MEDIA_PACKET)

    def _identified(self) -> None:
        self.heartbeat_limit = self._hub.settings.socket_timeout


class StreamTcpLine(StreamLine, EncryptedLine):
    """A connection on 61007: outer packets encrypted or in clear, as the camera likes."""

    def __init__(self, hub: Hub, relay: Relay, address: str, ticket: Ticket) -> None:
        super().__init__(STREAM_TCP, hub, address, ticket)
        self._relay = relay
        self._channel = server_channel(hub, clear_allowed=True, max_length=MAX_MEDIA_PACKET)

    def _answer(self, told: messages.Handshake) -> bytes:
        interval = messages.heartbeat_interval_ms(told.network, told.operator)
        return messages.HandshakeReply(
            heartbeat_interval_ms=interval or int(self._hub.settings.socket_timeout * 500)
        ).encode()
