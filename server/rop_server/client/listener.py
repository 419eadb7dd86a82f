"""Runs the application of 61009 with the connection rules of the client API.

Source: ROP v1.0 wire specification, client-api 1: keep-alive 5 s, and a connection without activity for 60 s is
dropped without a response, also in the middle of a call. Of ours: a request that drips has its time, too.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Callable
from typing import cast

from aiohttp import web

KEEP_ALIVE_S = 5.0
IDLE_S = 60.0
HEAD_S = 30.0
"""Seconds from the first byte of a request to the last of its head."""
# Bounds the memory of a connection flood; the documented clients hold a handful each.
MAX_CONNECTIONS = 4096
_NUMBERS = itertools.count(1)


class Desk:
    """Which connections have a request in hand: the application tells, the listener looks."""

    def __init__(self) -> None:
        self._connections: dict[asyncio.BaseProtocol, WatchedConnection] = {}

    def begins(self, protocol: asyncio.BaseProtocol | None) -> str:
        """A request is whole as far as its head goes; the name of its connection."""
        connection = self._connections.get(protocol) if protocol is not None else None
        if connection is None:
            return ""
        connection.head_at, connection.busy = None, True
        return connection.name

    def ends(self, protocol: asyncio.BaseProtocol | None) -> None:
        """It is answered."""
        connection = self._connections.get(protocol) if protocol is not None else None
        if connection is not None:
            connection.busy = False

    def add(self, connection: WatchedConnection) -> None:
        """A connection is there."""
        if connection.inner is not None:
            self._connections[connection.inner] = connection

    def remove(self, connection: WatchedConnection) -> None:
        """It has ended."""
        if connection.inner is not None:
            self._connections.pop(connection.inner, None)


DESK = web.AppKey("desk", Desk)


class WatchedConnection(asyncio.Protocol):
    """Passes everything on to the HTTP protocol and remembers when bytes last moved, and when a head began."""

    __slots__ = ("_gone", "active_at", "busy", "head_at", "inner", "name", "transport", "unsent")

    def __init__(self, inner: asyncio.Protocol | None, gone: Callable[[WatchedConnection], None]) -> None:
        # None: one connection too many, closed as soon as it is made.
        self.inner = inner
        self._gone = gone
        self.name = f"clientHttp-{next(_NUMBERS)}"
        self.active_at = time.monotonic()
        self.head_at: float | None = None
        self.busy = False
        self.unsent = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self.transport = cast(asyncio.Transport, transport)
        if self.inner is None:
            self.transport.abort()
        else:
            self.inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        self.active_at = time.monotonic()
        if self.head_at is None and not self.busy:
            self.head_at = self.active_at
        if self.inner is not None:
            self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The client sends no more."""
        return None if self.inner is None else self.inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended."""
        self._gone(self)
        if self.inner is not None:
            self.inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client reads slowly."""
        if self.inner is not None:
            self.inner.pause_writing()

    def resume_writing(self) -> None:
        """The client caught up."""
        self.active_at = time.monotonic()
        if self.inner is not None:
            self.inner.resume_writing()

    def expired(self, now: float) -> bool:
        """True when nothing moved for the idle limit, in either direction, or a head takes too long."""
        assert self.transport is not None
        unsent = self.transport.get_write_buffer_size()
        if unsent != self.unsent:
            self.unsent = unsent
            self.active_at = now
        if self.head_at is not None and now - self.head_at >= HEAD_S:
            return True
        return now - self.active_at >= IDLE_S


class ClientListener:
    """The listening socket of 61009."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=KEEP_ALIVE_S, handler_cancellation=True, handle_signals=False
        )
        self._connections: set[WatchedConnection] = set()
        self._desk = app[DESK]
        self._server: asyncio.Server | None = None
        self._gateway: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None

    async def start(self, sock: socket.socket) -> None:
        """Listen on a bound socket."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, sock=sock, backlog=1024)
        self._ticker = loop.call_later(1.0, self._tick)

    async def start_gateway(self, sock: socket.socket) -> None:
        """Listen on the gateway's unix socket as well; `start` comes first."""
        self._gateway = await asyncio.get_running_loop().create_server(self._connection, sock=sock, backlog=1024)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    async def stop(self, grace: float = 10.0) -> None:
        """Stop accepting, let running calls end within `grace` seconds, close."""
        if self._ticker is not None:
            self._ticker.cancel()
        for server in (self._server, self._gateway):
            if server is not None:
                server.close()
        if self._runner.server is not None:
            self._runner.server.pre_shutdown()
            await self._runner.server.shutdown(grace)
        await self._runner.cleanup()

    def _connection(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        full = len(self._connections) >= MAX_CONNECTIONS
        watched = WatchedConnection(None if full else self._runner.server(), self._leave)
        self._connections.add(watched)
        self._desk.add(watched)
        return watched

    def _leave(self, connection: WatchedConnection) -> None:
        self._connections.discard(connection)
        self._desk.remove(connection)

    def _tick(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            transport = connection.transport
            if transport is not None and connection.expired(now):
                transport.abort()
        self._ticker = asyncio.get_running_loop().call_later(1.0, self._tick)
