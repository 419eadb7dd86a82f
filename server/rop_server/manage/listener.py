"""Listens for the management interface: a unix socket always, TLS over TCP when configured."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

from aiohttp import web

SOCKET_MODE = 0o660
KEEP_ALIVE_S = 75.0
# A unix socket path is limited by the kernel; a data directory may lie deeper than that.
MAX_SOCKET_PATH = 107


class ManageListener:
    """Serves one management application on several sockets."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEP_ALIVE_S, shutdown_timeout=10.0)
        self._path: Path | None = None
        self._started = False
        self.port: int | None = None

    async def start_unix(self, path: Path) -> None:
        """Listen on a unix socket, mode 0660. The caller holds the lock of the data directory, so a socket found
        there is a dead one. Raises OSError.
        """
        await self._setup()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _bind(sock, path)
            path.chmod(SOCKET_MODE)
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


def _bind(sock: socket.socket, path: Path) -> None:
    """Bind; a path too long for the kernel is reached through a descriptor of its directory."""
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        sock.bind(str(path))
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        sock.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)
