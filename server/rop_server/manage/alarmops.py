"""The operations on alarms: receivers, dead letters, replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from aiohttp import web

from rop_data.config import ConfigError
from rop_server.manage.body import number_in, read_object, uid_of
from rop_server.manage.control import ApplyResult
from rop_server.manage.errors import ManageError, invalid
from rop_server.manage.handlers import reply
from rop_server.metrics import AlarmCounts
from rop_server.state.record import rfc3339

MAX_DEAD = 1000
MAX_IDS = 1000
MAX_WORD = 200


class Alarms(AlarmCounts, Protocol):
    """What these operations need of the composed server."""

    def dead(self, sink: str | None, uid: str | None, limit: int) -> list[dict[str, Any]]:
        """Dead letters, newest first: `id, sink, uid, at, deadAt (epoch seconds), reason, body`."""
        ...

    def replay(self, sink: str | None, uid: str | None, ids: list[str] | None) -> int:
        """Send dead letters again; their number."""
        ...

    async def put_sink(
        self, name: str, url: str, key: str | None, enabled: bool, wanted: Mapping[str, list[str]]
    ) -> ApplyResult:
        """Make or change a sink. Raises ConfigError or ValueError, then nothing is changed."""
        ...

    async def delete_sink(self, name: str) -> ApplyResult | None:
        """Remove a sink; None: there is none of that name."""
        ...


class AlarmOperations:
    """Receivers of alarms and what they did not take."""

    def __init__(self, alarms: Alarms | None) -> None:
        self._given = alarms

    @property
    def _alarms(self) -> Alarms:
        if self._given is None:
            raise ManageError(404, "not_found", "this server sends no alarms")
        return self._given

    async def get_alarms(self, _request: web.Request) -> web.Response:
        """Every sink, without its address."""
        sinks = [sink | {"oldest": rfc3339(sink["oldest"])} for sink in self._alarms.status()]
        return reply({"sinks": sinks, "dropped": dict(self._alarms.dropped)})

    async def list_dead_alarms(self, request: web.Request) -> web.Response:
        """Dead letters."""
        uid = request.query.get("uid")
        limit = number_in(request, "limit", 100, MAX_DEAD) or 0
        sink = _word(request.query.get("sink"), "sink")
        found = self._alarms.dead(sink, None if uid is None else uid_of(uid), limit)
        times = ("at", "deadAt")
        return reply({"items": [row | {name: rfc3339(row[name]) for name in times} for row in found]})

    async def replay_alarms(self, request: web.Request) -> web.Response:
        """Dead letters back into the queue."""
        body = await read_object(request, "sink", "uid", "ids")
        sink, uid, ids = _word(body.get("sink"), "sink"), body.get("uid"), body.get("ids")
        if ids is not None and (not isinstance(ids, list) or len(ids) > MAX_IDS or None in ids):
            raise invalid("ids", f"must be a list of at most {MAX_IDS} event ids")
        ids = None if ids is None else [str(_word(each, f"ids[{index}]")) for index, each in enumerate(ids)]
        return reply({"replayed": self._alarms.replay(sink, None if uid is None else uid_of(uid), ids)})

    async def put_alarm_sink(self, request: web.Request) -> web.Response:
        """Make or change a sink."""
        body = await read_object(request, "url", "key", "enabled", "filter")
        url, key, enabled = body.get("url"), body.get("key"), body.get("enabled", True)
        wanted = body.get("filter", {})
        if not isinstance(url, str):
            raise invalid("url", "must be an http or https address")
        if key is not None and not isinstance(key, str):
            raise invalid("key", "must be whsec_ and base64")
        if not isinstance(wanted, dict):
            raise invalid("filter", "must be an object")
        try:
            result = await self._alarms.put_sink(request.match_info["name"], url, key, enabled, wanted)
        except ConfigError as error:
            raise ManageError(422, "invalid_config", str(error), error.member, error.rule) from None
        except ValueError as error:
            raise invalid("key", str(error)) from None
        return _applied(result)

    async def delete_alarm_sink(self, request: web.Request) -> web.Response:
        """Remove a sink."""
        result = await self._alarms.delete_sink(request.match_info["name"])
        if result is None:
            raise ManageError(404, "sink_unknown", "there is no sink of this name in rop.json")
        return _applied(result)


def _word(value: object, field: str) -> str | None:
    """A short text without anything unusual; None stays None."""
    if value is not None and (not isinstance(value, str) or len(value) > MAX_WORD or not value.isprintable()):
        raise invalid(field, f"must be at most {MAX_WORD} printable characters")
    return value


def _applied(result: ApplyResult) -> web.Response:
    return reply(
        {
            "applied": list(result.applied),
            "restart": list(result.restart),
            "unchanged": list(result.unchanged),
        }
    )
