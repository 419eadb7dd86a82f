"""The listening socket of 61008 and every connection on it.

Source: ROP v1.0 wire specification, client-api 3; discrepancies C5.10.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from rop_server.core.hub import Clock
from rop_server.media.sessions import PlaySessions
from rop_server.rtsp.connection import RtspConnection
from rop_server.rtsp.proxy import plain

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_CONNECTIONS = 4096
UNPROVED_LIMIT = 30.0
"""Seconds in which a connection must have described a stream, whatever else it says."""


class RtspService:
    """Serves players. `start` before anything else."""

    def __init__(self, sessions: PlaySessions, clock: Clock, max_connections: int = MAX_CONNECTIONS) -> None:
        self.sessions = sessions
        self.clock = clock
        self.connections: set[RtspConnection] = set()
        self._limit = max_connections
        self._server: asyncio.Server | None = None
        self._gateway: asyncio.Server | None = None
        self.proxies: tuple[Network, ...] = ()
        """Networks from which connections to 61008 begin with a PROXY header, and no others do."""

    async def start(self, sock: socket.socket) -> None:
        """Listen on a bound socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: RtspConnection(self), sock=sock, backlog=1024)

    async def start_gateway(self, sock: socket.socket) -> None:
        """Listen on the gateway's unix socket as well: every connection on it begins with a PROXY header."""
        loop = asyncio.get_running_loop()
        self._gateway = await loop.create_server(lambda: RtspConnection(self), sock=sock, backlog=1024)

    def is_proxy(self, address: str) -> bool:
        """Whether a PROXY header is expected from, and believed of, this peer."""
        if not self.proxies:
            return False
        told = ipaddress.ip_address(plain(address))
        return any(told in network for network in self.proxies)

    def end_viewers(self, caller: str) -> None:
        """End the connections of a caller of the gateway who has no right any more."""
        for connection in list(self.connections):
            if connection.caller is not None and connection.caller.name == caller:
                connection.close("right withdrawn")

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    @property
    def listening(self) -> bool:
        """Whether players can connect."""
        return self._server is not None

    def enter(self, connection: RtspConnection) -> bool:
        """A connection is there; False when there are too many."""
        if len(self.connections) >= self._limit:
            return False
        self.connections.add(connection)
        return True

    def exit(self, connection: RtspConnection) -> None:
        """Nothing is left of it."""
        self.connections.discard(connection)

    def tick(self) -> None:
        """Once per second."""
        now, wall = self.clock.monotonic(), self.clock.wall()
        for connection in list(self.connections):
            if connection.unproved and now - connection.began >= UNPROVED_LIMIT:
                connection.close("nothing described")
            else:
                connection.tick(now, wall)

    def stop_listening(self) -> None:
        """Accept nobody any more."""
        for server in (self._server, self._gateway):
            if server is not None:
                server.close()
        self._server = self._gateway = None

    def close(self) -> None:
        """End every connection."""
        for connection in list(self.connections):
            connection.close("stopping")

    def abort(self) -> None:
        """Drop what did not end in time."""
        for connection in list(self.connections):
            connection.abort()
