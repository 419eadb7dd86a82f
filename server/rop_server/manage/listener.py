"""Listens for the management interface: a unix socket always, TLS over TCP when configured."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from aiohttp import web

from rop_server.unixsocket import unix_socket

KEEP_ALIVE_S = 75.0


class ManageListener:
    """Serves one management application on several sockets."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEP_ALIVE_S, shutdown_timeout=10.0)
        self._path: Path | None = None
        self._started = False
        self.port: int | None = None

    async def start_unix(self, path: Path) -> None:
        """Listen on a unix socket, as `unix_socket` makes it. Raises OSError."""
        await self._setup()
        sock = unix_socket(path)
        try:
            await web.SockSite(self._runner, sock, backlog=128).start()
        except BaseException:
            sock.close()
            raise
        self._path = path

    async def start_tcp(self, host: str, port: int, context: ssl.SSLContext) -> None:
        """Listen on TLS over TCP; callers need a bearer token. Raises OSError."""
        await self._setup()
        sock = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        sock.setblocking(False)
        try:
            await web.SockSite(self._runner, sock, ssl_context=context, backlog=128).start()
        except BaseException:
            sock.close()
            raise
        self.port = sock.getsockname()[1]

    async def stop(self) -> None:
        """Answer waiting polls, let running calls end, close, remove the socket."""
        await self._runner.cleanup()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _setup(self) -> None:
        if not self._started:
            self._started = True
            await self._runner.setup()
