"""61000, 61001 and 61002: HTTPS services for devices.

Source: ROP v1.0 wire specification, device-protocol 2; discrepancies B4, B7, C3.16.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import structlog

from rop_server.core.codes import Enrolment, Reply
from rop_server.core.connection import Certificate
from rop_server.core.facade import Admission, CoreEvents
from rop_server.core.hub import Clock
from rop_server.net import http1
from rop_server.net.gate import Ticket
from rop_server.net.tls import peer_certificate
from rop_wire.provisioning import CA_PATH, CERTIFICATE_PATHS, REGISTRATION_PATH, CaReply

log = structlog.get_logger("rop.provisioning")

REQUEST_LIMIT = 10.0
IDLE_LIMIT = 5.0
LINGER = 5.0

Handler = Callable[[http1.HttpRequest, str, Certificate | None], Reply | None]
"""Request, peer address, verified certificate -> reply; None: no such method or path."""


class HttpsService:
    """One HTTPS port. `tick` ends connections that are too slow; nothing else keeps a timer."""

    def __init__(
        self,
        handler: Handler,
        clock: Clock,
        *,
        keep_alive: bool,
        admit: Callable[[Certificate], bool] | None = None,
    ) -> None:
        self.handler = handler
        self.clock = clock
        self.keep_alive = keep_alive
        self.admit = admit
        self.connections: set[HttpsProtocol] = set()

    def protocol(self, address: str, ticket: Ticket) -> HttpsProtocol:
        """The protocol of a new connection."""
        return HttpsProtocol(self, address, ticket)

    def tick(self) -> None:
        """Once per second: end connections past their deadline."""
        now = self.clock.monotonic()
        for connection in list(self.connections):
            connection.expire(now)

    def close(self) -> None:
        """The server stops: answers already written are flushed."""
        for connection in list(self.connections):
            connection.finish()

    def abort(self) -> None:
        """Drop every connection."""
        for connection in list(self.connections):
            connection.abort()


class HttpsProtocol(asyncio.Protocol):
    """One connection of a device to a service."""

    __slots__ = (
        "_address",
        "_certificate",
        "_closing",
        "_deadline",
        "_reader",
        "_service",
        "_ticket",
        "_transport",
    )

    def __init__(self, service: HttpsService, address: str, ticket: Ticket) -> None:
        self._service = service
        self._address = address
        self._ticket = ticket
        self._transport: asyncio.Transport | None = None
        self._reader = http1.RequestReader()
        self._certificate: Certificate | None = None
        self._closing = False
        self._deadline = service.clock.monotonic() + REQUEST_LIMIT

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._service.connections.add(self)
        self._deadline = self._service.clock.monotonic() + REQUEST_LIMIT
        if self._service.admit is not None:
            self._certificate = peer_certificate(transport)
            if self._certificate is None or not self._service.admit(self._certificate):
                self.finish()

    def data_received(self, data: bytes) -> None:
        if self._closing or self._transport is None:
            return
        try:
            requests = self._reader.feed(data)
        except http1.HttpError as error:
            self._transport.write(http1.failure(error))
            self.finish()
            return
        if self._reader.expects:
            self._reader.expects = False
            if not requests:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        for request in requests:
            self._serve(request)
            if self._closing:
                return

    def _serve(self, request: http1.HttpRequest) -> None:
        assert self._transport is not None
        service = self._service
        try:
            reply = service.handler(request, self._address, self._certificate)
        except Exception:
            # As the specification has it: no answer when a certificate cannot be produced.
            uid = self._certificate.uid if self._certificate is not None else None
            log.exception(
                "provisioning", message="nok", uid=uid, connection=self._address, target=request.target[:100]
            )
            self.abort()
            return
        wall = service.clock.wall()
        if reply is not None:
            self._transport.write(http1.answer(reply.status, reply.body, wall))
            self.finish()
            return
        self._transport.write(http1.not_found(request.method, service.keep_alive, wall))
        if service.keep_alive:
            self._deadline = service.clock.monotonic() + IDLE_LIMIT
        else:
            self.finish()

    def expire(self, now: float) -> None:
        """End the connection when its time is over."""
        if now >= self._deadline:
            if self._closing:
                self.abort()
            else:
                self.finish()

    def finish(self) -> None:
        """Close in an orderly way: what was written is sent, then the close notification."""
        if not self._closing and self._transport is not None:
            self._closing = True
            self._deadline = self._service.clock.monotonic() + LINGER
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        self.abort()  # the answers are small: a peer that does not read them is not a camera

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.connections.discard(self)
        self._closing = True
        self._transport = None
        self._ticket.release()


def ca_service(root_pem: Callable[[], str], clock: Clock) -> HttpsService:
    """61000: the root certificate, byte for byte, and the time."""

    def handler(request: http1.HttpRequest, _address: str, _certificate: Certificate | None) -> Reply | None:
        if request.method != "GET" or not request.target.startswith(CA_PATH):
            return None
        return Reply(200, CaReply.at(root_pem(), clock.wall()).encode())

    return HttpsService(handler, clock, keep_alive=False)


def certificate_service(enrolment: Enrolment, clock: Clock) -> HttpsService:
    """61001: device certificates."""

    def handler(request: http1.HttpRequest, address: str, _certificate: Certificate | None) -> Reply | None:
        if request.method != "POST" or not request.target.startswith(CERTIFICATE_PATHS):
            return None
        return enrolment.certificate(request.body, address)

    return HttpsService(handler, clock, keep_alive=True)


def registration_service(
    enrolment: Enrolment, clock: Clock, admission: Admission, events: CoreEvents
) -> HttpsService:
    """61002: registration, for devices with a certificate that are admitted."""

    def handler(request: http1.HttpRequest, address: str, certificate: Certificate | None) -> Reply | None:
        if request.method != "POST" or not request.target.startswith(REGISTRATION_PATH):
            return None
        uid = certificate.uid if certificate is not None else ""
        return enrolment.registration(request.body, uid, address)

    def admit(told: Certificate) -> bool:
        wall = clock.wall()
        reason = admission.admit(told.uid, told.serial, told.issuer, told.not_after, wall)
        if reason is not None:
            events.refused(told.uid, "registerHttps", reason, wall)
        return reason is None

    return HttpsService(handler, clock, keep_alive=True, admit=admit)
