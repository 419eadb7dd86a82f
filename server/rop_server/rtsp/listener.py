"""The listening socket of 61008 and every connection on it.

Source: ROP v1.0 wire specification, client-api 3; discrepancies C5.10.
"""

from __future__ import annotations

import asyncio
import socket

from rop_server.core.hub import Clock
from rop_server.media.sessions import PlaySessions
from rop_server.rtsp.connection import RtspConnection

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

    async def start(self, sock: socket.socket) -> None:
        """Listen on a bound socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: RtspConnection(self), sock=sock, backlog=1024)

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
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def close(self) -> None:
        """End every connection."""
        for connection in list(self.connections):
            connection.close("stopping")

    def abort(self) -> None:
        """Drop what did not end in time."""
        for connection in list(self.connections):
            connection.abort()
