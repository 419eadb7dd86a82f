"""Listening unix sockets, for the owner and the group alone."""

from __future__ import annotations

import os
import socket
from pathlib import Path

MODE = 0o660
# A unix socket path is limited by the kernel; a data directory may lie deeper than that.
MAX_PATH = 107


def unix_socket(path: Path) -> socket.socket:
    """A socket bound at `path`, not yet listening. The caller holds the lock of the data directory, so a socket
    found there is a dead one. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _bind(sock, path)
        path.chmod(MODE)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, path: Path) -> None:
    """Bind; a path too long for the kernel is reached through a descriptor of its directory."""
    if len(os.fsencode(path)) <= MAX_PATH:
        sock.bind(str(path))
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        sock.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)
