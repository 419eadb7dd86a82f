"""The operation on streams: what runs right now."""

from __future__ import annotations

from typing import Any, Protocol

from aiohttp import web

from rop_server.manage.handlers import reply


class Streams(Protocol):
    """What this operation needs of the composed server."""

    def rows(self) -> list[dict[str, Any]]:
        """Each running stream."""
        ...


class StreamOperations:
    """Streams and their viewers."""

    def __init__(self, streams: Streams | None) -> None:
        self._streams = streams

    async def list_streams(self, _request: web.Request) -> web.Response:
        """Running streams."""
        return reply({"items": self._streams.rows() if self._streams is not None else []})
