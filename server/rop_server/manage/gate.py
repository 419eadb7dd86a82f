"""Who may call: peers of the unix socket, or holders of a bearer token; and whether the caller manages us."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from aiohttp import web

from rop_server.manage.body import number_in
from rop_server.manage.errors import ManageError
from rop_server.state.book import FactsBook
from rop_server.state.leadership import NotManager
from rop_server.state.tokens import SCOPES

MANAGER_HEADER = "Rop-Manager"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who called: `name` for the log, `scope` of what is allowed."""

    name: str
    scope: str

    def may(self, scope: str) -> bool:
        """True when the caller's scope includes `scope`."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


class Gate:
    """Authentication, scopes, fences."""

    def __init__(self, book: FactsBook) -> None:
        self._book = book

    def caller(self, request: web.Request) -> Caller:
        """The caller of a request. Raises 401 without a valid token on anything but the unix socket."""
        peer = _unix_peer(request)
        if peer is not None:
            return Caller(peer, "Admin")
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        info = self._book.tokens.verify(token.strip()) if kind.lower() == "bearer" else None
        if info is None:
            raise ManageError(401, "unauthorized", "a bearer token of this server is needed")
        return Caller(f"token {info.name}", info.scope)

    def admit(self, request: web.Request, scope: str) -> Caller:
        """The caller, if it may do this. Raises 401 or 403."""
        caller = self.caller(request)
        if not caller.may(scope):
            raise ManageError(403, "forbidden", f"this call needs scope {scope}, the token has {caller.scope}")
        return caller

    def fence(self, request: web.Request) -> None:
        """Refuse a write of anyone but the recorded manager, with a fence that is not behind. Raises 409."""
        try:
            self._book.leadership.check(request.headers.get(MANAGER_HEADER), number_in(request, "fence"))
        except NotManager as error:
            raise ManageError(409, error.symbol, str(error)) from None


def _unix_peer(request: web.Request) -> str | None:
    """Process, user and group at the other end of a unix socket; None for any other transport."""
    transport = request.transport
    sock = None if transport is None else transport.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return f"pid {pid} uid {uid} gid {gid}"
