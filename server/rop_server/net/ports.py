"""The device ports of one server: sockets, services and connections, opened and closed together."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping

from rop_server.core.codes import Enrolment
from rop_server.core.hub import Hub
from rop_server.media.relay import Relay
from rop_server.net.gate import Gate, Ticket
from rop_server.net.inherited import Inherited
from rop_server.net.lines import KeepAliveLine, SignalingLine
from rop_server.net.listener import Listener, ProtocolFactory, Tls, open_socket
from rop_server.net.provisioning import (
    HttpsService,
    ca_service,
    certificate_service,
    registration_service,
)
from rop_server.net.streams import StreamTcpLine, StreamTlsLine
from rop_server.net.tls import TlsContexts
from rop_server.net.turns import Turns

DEVICE_PORTS = (
    "getCAHttps",
    "getCertHttps",
    "registerHttps",
    "keepAliveTCP",
    "signalingTLS",
    "streamTLS",
    "streamTCP",
)
SILENCE_LIMIT = 30.0
# As the vendor's server: the provisioning services listen on IPv4, the device connections on both.
IPV4_ANY = "0.0.0.0"  # noqa: S104


def open_device_sockets(
    bind: str | None, ports: Mapping[str, int], inherited: Inherited | None = None
) -> dict[str, socket.socket]:
    """Listening sockets by member name, inherited ones where there are.

    All or none: raises `PortInUse` and closes what was opened.
    """
    sockets: dict[str, socket.socket] = {}
    try:
        for member in DEVICE_PORTS:
            host = bind
            if host is None and member.endswith("Https"):
                host = IPV4_ANY
            found = inherited.take(ports[member]) if inherited is not None else None
            sockets[member] = found or open_socket(host, ports[member], f"ports.{member}")
    except Exception:
        for sock in sockets.values():
            sock.close()
        raise
    return sockets


class DevicePorts:
    """Serves devices on 61000, 61001, 61002, 61003, 61005, 61006 and 61007.

    `tls` yields the contexts for a connection from an address.
    """

    def __init__(
        self,
        sockets: Mapping[str, socket.socket],
        hub: Hub,
        enrolment: Enrolment,
        tls: Callable[[str], TlsContexts],
        root_pem: Callable[[], str],
        gate: Gate | None = None,
        relay: Relay | None = None,
    ) -> None:
        self.hub = hub
        self.relay = relay if relay is not None else Relay(hub.clock.monotonic, lambda: SILENCE_LIMIT)
        self.gate = gate or Gate()
        self._enrolment = enrolment
        clock = hub.clock
        self._services: tuple[HttpsService, ...] = (
            ca_service(root_pem, clock),
            certificate_service(enrolment, clock),
            registration_service(enrolment, clock, hub.admission, hub.events),
        )
        authority, certificates, registration = (each.protocol for each in self._services)

        def signaling(address: str, ticket: Ticket) -> asyncio.BaseProtocol:
            return SignalingLine(hub, address, ticket)

        def keep_alive(address: str, ticket: Ticket) -> asyncio.BaseProtocol:
            return KeepAliveLine(hub, address, ticket)

        def stream_tls(address: str, ticket: Ticket) -> asyncio.BaseProtocol:
            return StreamTlsLine(hub, self.relay, address, ticket)

        def stream_tcp(address: str, ticket: Ticket) -> asyncio.BaseProtocol:
            return StreamTcpLine(hub, self.relay, address, ticket)

        self.turns = Turns()
        plain = Tls(lambda address: tls(address).plain, self.turns)
        mutual = Tls(lambda address: tls(address).mutual, self.turns)
        factories: dict[str, tuple[ProtocolFactory, Tls | None]] = {
            "getCAHttps": (authority, plain),
            "getCertHttps": (certificates, plain),
            "registerHttps": (registration, mutual),
            "keepAliveTCP": (keep_alive, None),
            "signalingTLS": (signaling, mutual),
            "streamTLS": (stream_tls, mutual),
            "streamTCP": (stream_tcp, None),
        }
        self.listeners = {
            member: Listener(sockets[member], factory, self.gate, clock.monotonic, how)
            for member, (factory, how) in factories.items()
        }
        for listener in self.listeners.values():
            listener.resume()
            self.gate.room.append(listener.resume)

    def ready(self) -> dict[str, bool]:
        """Whether each port listens, by its name in config.json."""
        return {member: each.listening for member, each in self.listeners.items()}

    def tick(self) -> None:
        """Every timer of devices and their connections; called once per second."""
        self.hub.tick()
        self.relay.tick()
        self._enrolment.purge()
        for service in self._services:
            service.tick()
        for listener in self.listeners.values():
            listener.tick()

    def stop_listening(self) -> None:
        """Accept nobody any more; open connections go on."""
        for listener in self.listeners.values():
            listener.close()

    def close(self) -> None:
        """End every connection in an orderly way."""
        for service in self._services:
            service.close()
        for connection in list(self.hub.open):
            connection.close("stopping")

    @property
    def connections(self) -> int:
        """Connections that exist, ending ones included."""
        return len(self.hub.open) + sum(len(each.connections) for each in self._services)

    def abort(self) -> None:
        """Drop what did not end in time."""
        for service in self._services:
            service.abort()
        for connection in list(self.hub.open):
            connection.abort()
