"""The gateway's part of a running server: three sockets, the desk behind them, what the manager asks about it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from rop_data import roots
from rop_data.gateway import GatewaySettings
from rop_data.store import Site
from rop_pki import PkiError, inspect
from rop_server.access.callers import Passes
from rop_server.client.listener import ClientListener
from rop_server.core.hub import Clock
from rop_server.gateway.app import build_gateway_app
from rop_server.gateway.desk import Desk
from rop_server.gateway.report import GatewayReport
from rop_server.manage.listener import ManageListener
from rop_server.rtsp.listener import RtspService
from rop_server.state.book import FactsBook
from rop_server.unixsocket import unix_socket

log = structlog.get_logger("rop.gateway")

# Names that rop-gateway knows.
AUTHORIZE, CLIENT, RTSP = "authorize.sock", "client.sock", "rtsp.sock"


class GatewayPart:
    """Implements `rop_server.manage.gatewayops.Gateway`. `note(type, data)` records an event."""

    def __init__(
        self,
        site: Site,
        book: FactsBook,
        passes: Passes,
        clock: Clock,
        note: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._site = site
        self._note = note
        self._clock = clock
        self._settings = site.settings.gateway
        self._report = GatewayReport(clock.wall, note)
        self._listener = ManageListener(build_gateway_app(Desk(book, passes, clock.wall), self._report, self.sign))

    def apply(self, settings: GatewaySettings, rtsp: RtspService) -> None:
        """Put settings in force."""
        self._settings = settings
        rtsp.proxies = tuple(ipaddress.ip_network(each) for each in settings.proxies)

    async def start(self, folder: Path, client: ClientListener, rtsp: RtspService) -> None:
        """Open the sockets in a folder. Raises OSError."""
        await self._listener.start_unix(folder / AUTHORIZE)
        await client.start_gateway(unix_socket(folder / CLIENT))
        await rtsp.start_gateway(unix_socket(folder / RTSP))

    async def stop(self) -> None:
        """Close the desk; the two others close with their listeners."""
        await self._listener.stop()

    def status(self) -> dict[str, Any]:
        """What the gateway says of itself."""
        return self._report.document()

    def sign(self, csr_pem: str) -> str:
        """A chain for a gateway's certificate request. Raises PkiError, which says what is not allowed."""
        days = int(self._site.config.get("cert.serverCertValidDays"))
        if not self._settings.hosts:
            raise PkiError("rop.gateway.hosts names no gateway")
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        chain = self._site.authority.gateway_certificate(csr_pem.encode(), self._settings.hosts, days, now)
        chain += roots.crosses(self._site.certs)  # its clients too may know a root of before only
        told = inspect(chain)
        self._note("gateway.certificate", {"serial": told.serial, "notAfter": told.not_after.timestamp()})
        log.info("certificate", message="signed", serial=told.serial)
        return chain.decode()
