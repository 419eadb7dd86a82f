"""Clients of core servers by the interface of their endpoint."""

from rop_operator.adapters.fleet_client import ClientServer
from rop_operator.adapters.fleet_management import ManagementServer
from rop_operator.adapters.fleet_transport import Transport
from rop_operator.ports import Endpoint, PortError, Server


class HttpFleet:
    """Makes clients over HTTP. `allow_loopback`, `allow_unix`: decisions of the program, never of a document."""

    def __init__(
        self, *, allow_loopback: bool = False, allow_unix: bool = True, poll_seconds: float = 5.0
    ) -> None:
        self._allow_loopback = allow_loopback
        self._allow_unix = allow_unix
        self._poll_seconds = poll_seconds

    def connect(self, endpoint: Endpoint) -> Server:
        """A client; no traffic yet. PortError: `EgressRefused`."""
        if endpoint.url.startswith("unix:") and not self._allow_unix:
            raise PortError("EgressRefused", "a unix socket is reached only on the host it lies on: use https://")
        transport = Transport(endpoint, self._allow_loopback)
        if endpoint.interface == "ClientAPI":
            return ClientServer(transport, self._poll_seconds)
        return ManagementServer(transport)
