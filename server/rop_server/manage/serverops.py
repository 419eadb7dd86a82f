"""The operations on the server itself: health, identity, configuration, metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from rop_data.config import ConfigError
from rop_server.manage.body import read_object, word_of
from rop_server.manage.confdoc import ConfigView
from rop_server.manage.control import ApplyResult, Control
from rop_server.manage.errors import ManageError, invalid
from rop_server.manage.handlers import json_bytes, raw_reply, reply
from rop_server.manage.openapi import document
from rop_server.metrics import Metrics
from rop_server.state.book import FactsBook
from rop_server.state.record import rfc3339

FEATURES = ("settings", "claims", "events", "config", "access", "alarms", "firmware", "backup", "gateway")


class ServerOperations:
    """Operations that need `Control`."""

    def __init__(self, book: FactsBook, control: Control, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._book = book
        self._control = control
        self._metrics = metrics
        self._clock = clock
        self._view = ConfigView()
        self._document = json_bytes(document())

    async def health(self, _request: web.Request) -> web.Response:
        """The process answers."""
        return reply({"status": "ok"})

    async def ready(self, _request: web.Request) -> web.Response:
        """Whether every port listens."""
        ports = dict(self._control.ready())
        ready = bool(ports) and all(ports.values())
        return reply({"ready": ready, "ports": ports}, 200 if ready else 503)

    async def identity(self, _request: web.Request) -> web.Response:
        """Who this server is."""
        identity = dict(self._control.identity())
        certificate = dict(identity["serverCertificate"])
        if isinstance(certificate["notAfter"], int | float):
            certificate["notAfter"] = rfc3339(certificate["notAfter"])
        manager = self._book.leadership.current
        return reply(
            identity
            | {
                "serverCertificate": certificate,
                "manager": {"id": manager.id, "fence": manager.fence},
                "configFileChanged": self._control.file_changed,
                "pendingRestart": list(self._control.pending_restart),
                "features": list(FEATURES),
            }
        )

    async def get_config(self, _request: web.Request) -> web.Response:
        """The configuration without secrets."""
        raw = self._control.config().raw
        return reply(
            {
                "members": self._view.members(raw) | dict(self._control.own_members()),
                "masked": self._view.masked(raw),
                "fileChanged": self._control.file_changed,
                "pendingRestart": list(self._control.pending_restart),
            }
        )

    async def put_config(self, request: web.Request) -> web.Response:
        """Write members."""
        members = (await read_object(request, "members")).get("members")
        if not isinstance(members, dict):
            raise invalid("members", "must be an object of dotted member and value")
        try:
            return self._applied(await self._control.apply(members))
        except ConfigError as error:
            raise _refused(error) from None

    async def reload_config(self, _request: web.Request) -> web.Response:
        """Take the file."""
        try:
            return self._applied(await self._control.reload())
        except ConfigError as error:
            raise _refused(error) from None

    async def compare_config(self, request: web.Request) -> web.Response:
        """Compare members."""
        wanted = await read_object(request)
        own = self._control.own_members()
        vendor = {name: value for name, value in wanted.items() if name not in own}
        equal = self._view.compare(self._control.config().raw, vendor)
        return reply(equal | {name: own[name] == wanted[name] for name in wanted if name in own})

    async def metrics(self, request: web.Request) -> web.Response:
        """The metrics page."""
        by = request.query.get("by")
        if by is not None:
            word_of(by, "by", "device")
        body, content_type = self._metrics.page(request.headers.get("Accept", ""), by == "device")
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def openapi(self, _request: web.Request) -> web.Response:
        """The OpenAPI document."""
        return raw_reply(self._document)

    def _applied(self, result: ApplyResult) -> web.Response:
        told: dict[str, Any] = {
            "applied": list(result.applied),
            "restart": list(result.restart),
            "unchanged": list(result.unchanged),
        }
        if result.applied or result.restart:
            # Names only: values can be secrets.
            names = {"applied": told["applied"], "restart": told["restart"]}
            self._book.note("config.changed", None, names, self._clock())
        return reply(told)


def _refused(error: ConfigError) -> ManageError:
    return ManageError(422, "invalid_config", str(error), error.member, error.rule)
