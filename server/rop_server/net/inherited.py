"""Listening sockets that systemd opened and keeps: no connection attempt is lost while the program is replaced.

Source: sd_listen_fds(3): `LISTEN_PID`, `LISTEN_FDS`, descriptors from 3 on. A socket is matched by its port.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, MutableMapping

import structlog

log = structlog.get_logger("rop.net")

FIRST = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class Inherited:
    """The sockets by port. `take` gives each away once; `close` closes what nobody wanted."""

    def __init__(self, sockets: dict[int, socket.socket] | None = None) -> None:
        self._sockets = sockets or {}

    @classmethod
    def of(cls, environment: MutableMapping[str, str], first: int = FIRST) -> Inherited:
        """Those that were handed to this very process; the variables are removed for the sake of children."""
        told = {name: environment.pop(name, "") for name in _VARIABLES}
        if told["LISTEN_PID"] != str(os.getpid()) or not told["LISTEN_FDS"].isdecimal():
            return cls()
        found: dict[int, socket.socket] = {}
        for sock in _listening(range(first, first + int(told["LISTEN_FDS"]))):
            port = sock.getsockname()[1]
            if port in found:
                log.warning("inherited", message="two sockets of one port, the first is used", port=port)
                sock.close()
            else:
                found[port] = sock
        return cls(found)

    def __len__(self) -> int:
        return len(self._sockets)

    def take(self, port: int) -> socket.socket | None:
        """The socket of a port, None when there is none."""
        return self._sockets.pop(port, None)

    def close(self) -> None:
        """Close sockets of ports that the configuration does not have, and say so."""
        for port, sock in self._sockets.items():
            log.warning("inherited", message="no service has this port", port=port)
            sock.close()
        self._sockets.clear()


def _listening(descriptors: range) -> Iterator[socket.socket]:
    for number in descriptors:
        try:
            sock = socket.socket(fileno=number)
        except OSError as error:
            log.warning("inherited", message="no socket", descriptor=number, reason=error.strerror)
            continue
        internet = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
        if not internet or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            log.warning("inherited", message="not a listening TCP socket", descriptor=number)
            sock.close()
            continue
        os.set_inheritable(number, False)
        sock.setblocking(False)
        yield sock
