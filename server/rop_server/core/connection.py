"""One device connection as the core sees it; `rop_server.net` provides the bytes."""

from __future__ import annotations

import itertools
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from rop_wire.packet import Packet

SIGNALING: Final = "Signaling"
KEEP_ALIVE: Final = "KeepAlive"
STREAM_TLS: Final = "StreamTLS"
STREAM_TCP: Final = "StreamTCP"
PORT_NAMES: Final = {
    SIGNALING: "signalingTLS",
    KEEP_ALIVE: "keepAliveTCP",
    STREAM_TLS: "streamTLS",
    STREAM_TCP: "streamTCP",
}
_NUMBERS = itertools.count(1)

REQUEST_ID_START = 100_000
"""Request numbers of a connection start at random below this. Source: device-protocol 3, Matching."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Facts of the client certificate of a TLS connection; `not_after` is epoch seconds."""

    uid: str
    serial: str
    issuer: str | None
    not_after: float


class Connection(ABC):
    """A device connection on 61003, 61005, 61006 or 61007. `name` is its own in this process, for the log.

    `uid` is empty until the identity is known, `device` (the hash of a UID) until the transport has proved it.
    `key_index` is the one of the hello on 61003.
    Times are seconds of the monotonic clock.
    """

    __slots__ = (
        "active_at",
        "address",
        "announced",
        "certificate",
        "device",
        "heartbeat_at",
        "heartbeat_limit",
        "key_index",
        "name",
        "next_id",
        "transport_kind",
        "uid",
    )

    def __init__(self, transport_kind: str, address: str | None, now: float) -> None:
        self.transport_kind = transport_kind
        self.name = f"{PORT_NAMES[transport_kind]}-{next(_NUMBERS)}"
        self.address = address
        self.uid = ""
        self.device = ""
        self.key_index = ""
        self.certificate: Certificate | None = None
        self.announced = False
        self.next_id = secrets.randbelow(REQUEST_ID_START)
        self.heartbeat_at = now
        self.heartbeat_limit = 0.0
        self.active_at = now

    def __str__(self) -> str:
        return self.name

    def allot(self) -> int:
        """The next request number of this connection, wrapping within 32 bits."""
        number = self.next_id
        self.next_id = (number + 1) & 0xFFFFFFFF
        return number

    @abstractmethod
    def send(self, packet: Packet) -> None:
        """Queue one packet; does nothing on a connection that is going away."""

    async def drained(self) -> None:  # noqa: B027 - a transport without a buffer has nothing to wait for
        """Return once the peer has taken what was sent, or the connection is going away."""

    @abstractmethod
    def proves(self, uid: str) -> bool:
        """True when what the transport verified (certificate, access key) belongs to this UID."""

    @abstractmethod
    def close(self, reason: str) -> None:
        """End the connection in an orderly way; the core hears `lost` afterwards."""

    @abstractmethod
    def abort(self) -> None:
        """Drop the connection without ceremony."""
