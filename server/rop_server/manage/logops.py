"""The operations on what was written down: the last log lines, and who changed what."""

from __future__ import annotations

import asyncio

from aiohttp import web

from rop_server.audit import Audit
from rop_server.manage.body import number_in, uid_of, word_of
from rop_server.manage.handlers import reply
from rop_server.recent import ORDER, RecentLines

PAGE = 1_000


class LogOperations:
    """Lines of the log and of the audit log."""

    def __init__(self, recent: RecentLines, audit: Audit | None) -> None:
        self._recent = recent
        self._audit = audit

    async def list_logs(self, request: web.Request) -> web.Response:
        """The last lines."""
        query = request.query
        level = word_of(query.get("level", "debug"), "level", *ORDER)
        limit = number_in(request, "limit", 100, PAGE) or 0
        uid = _device(request)
        number, items = self._recent.page(limit, number_in(request, "after"), level, uid)
        return reply({"next": number, "items": items})

    async def list_audit(self, request: web.Request) -> web.Response:
        """The last changes."""
        limit = number_in(request, "limit", 100, PAGE) or 0
        uid = _device(request)
        found = await asyncio.to_thread(self._audit.page, limit, uid) if self._audit is not None else []
        return reply({"items": found})


def _device(request: web.Request) -> str | None:
    uid = request.query.get("uid")
    return None if uid is None else uid_of(uid)
