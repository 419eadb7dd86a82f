"""Answers nginx's question who calls: passwords and certificates here, tokens and permissions at rop-server."""

from __future__ import annotations

import base64
import binascii
import os
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import structlog
from aiohttp import web
from cryptography import x509
from cryptography.x509.oid import NameOID

from rop_gateway.config import Access, Gateway
from rop_gateway.passwords import Passwords, Throttled
from rop_gateway.server import RopServer, ServerError

log = structlog.get_logger("rop.gateway")

MAX_CREDENTIALS = 4096
ALLOWED, UNKNOWN, FORBIDDEN = 204, 401, 403
_TOKEN = re.compile(r"rop_[A-Za-z0-9_-]{22,128}")
NOTHING: dict[str, Any] = {"verbs": [], "cameras": None}
_STATUS = {"allowed": ALLOWED, "unknown": UNKNOWN, "forbidden": FORBIDDEN}


class Authenticator:
    """The application behind nginx's `auth_request`: 204 with a pass, 401, 403; 503 becomes a 503 of nginx."""

    def __init__(self, document: Gateway, passwords: Passwords, server: RopServer) -> None:
        self.document = document
        self._passwords = passwords
        self._server = server
        self._runner: web.AppRunner | None = None

    async def start(self, path: Path) -> None:
        """Listen on a unix socket. Raises OSError."""
        app = web.Application()
        app.router.add_get("/", self._ask)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        await web.SockSite(self._runner, sock, backlog=512).start()

    async def stop(self) -> None:
        """Answer what was asked, close."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _ask(self, request: web.Request) -> web.Response:
        try:
            caller = await self._caller(request)
        except Throttled:
            return web.Response(status=UNKNOWN, headers={"Rop-Throttled": "1"})
        if caller is None:
            return web.Response(status=UNKNOWN)
        question = {
            "method": request.headers.get("Rop-Method", ""),
            "target": request.headers.get("Rop-Target", ""),
            "address": request.headers.get("Rop-Address", ""),
            "playURLPrefix": self.document.prefix,
            "play": self.document.play.model_dump(by_alias=True),
            **caller,
        }
        try:
            told = await self._server.authorize(question)
        except ServerError as error:
            log.warning("authorize", message="nok", reason=str(error))
            return web.Response(status=503)
        status = _STATUS.get(str(told.get("decision")), FORBIDDEN)
        headers = {"Rop-Caller": str(told.get("caller", ""))}
        if status == ALLOWED:
            headers["Rop-Pass"] = str(told.get("pass", ""))
        return web.Response(status=status, headers=headers)

    async def _caller(self, request: web.Request) -> dict[str, Any] | None:
        """What rop-server is told about the caller, None when nothing proves who it is. Raises Throttled."""
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        credentials = credentials.strip()
        if len(credentials) > MAX_CREDENTIALS:
            return None
        if scheme.lower() == "bearer":
            return {"token": credentials} if _TOKEN.fullmatch(credentials) else None
        if scheme.lower() == "basic":
            return await self._user(credentials, request.headers.get("Rop-Address", ""))
        if scheme:
            return None
        return self._certificate(request)

    async def _user(self, credentials: str, address: str) -> dict[str, Any] | None:
        try:
            name, colon, password = base64.b64decode(credentials, validate=True).partition(b":")
            user = name.decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            return None
        if not colon or self.document.htpasswd_file is None:
            return None
        if not await self._passwords.check(user, password, address):
            log.info("password", message="nok", peer=address)
            return None
        listed = next((each for each in self.document.access if each.user == user), None)
        return {"caller": f"user {user}", "grant": _grant(listed)}

    def _certificate(self, request: web.Request) -> dict[str, Any] | None:
        """The holder of a client certificate that nginx verified; who is not in the document may do nothing."""
        if request.headers.get("Rop-Certificate-Verified") != "SUCCESS":
            return None
        try:
            told = x509.load_pem_x509_certificate(unquote_to_bytes(request.headers.get("Rop-Certificate", "")))
        except ValueError:
            return None
        names = [str(each.value) for each in told.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if len(names) != 1:
            return None
        listed = next((each for each in self.document.access if each.certificate == names[0]), None)
        grant = _grant(listed) if listed is not None else NOTHING
        shown = names[0] if names[0].isascii() and names[0].isprintable() else "?"
        return {"caller": f"certificate {shown[:64]}", "grant": grant}


def _grant(listed: Access | None) -> dict[str, Any] | None:
    """What somebody may do; None: everything."""
    if listed is None:
        return None
    cameras = listed.cameras.model_dump() if listed.cameras is not None else None
    return {"verbs": list(listed.verbs), "cameras": cameras}
