"""What a call of the client API is given and what it gives back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from rop_server.access.callers import Caller
from rop_server.client.errors import invalid
from rop_server.client.validation import Query

BODY_S = 30.0
"""Seconds for a small body, and for `SLOWEST` bytes of a long one."""
SLOWEST = 65_536
JSON_TYPE = "application/json; charset=utf-8"
OK = b'{"message":"ok"}'


def encode(document: Any) -> bytes:
    """Compact JSON as UTF-8; what UTF-8 cannot express becomes `?`."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class Unserved(Exception):
    """This call is switched off: answered like a path that does not exist."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of a 200 response."""

    body: bytes
    content_type: str = JSON_TYPE


class Asked:
    """One request: parameters of its raw path, its body, its query, looked at in this order by every call."""

    __slots__ = ("_request", "caller", "path")

    def __init__(self, path: dict[str, str], request: web.Request, caller: Caller | None = None) -> None:
        """`caller`: who came through the gateway, None: the port of its own, which asks nobody."""
        self.path = path
        self.caller = caller
        self._request = request

    def sees(self, uid: str) -> bool:
        """Whether the caller may know of a camera."""
        return self.caller is None or self.caller.sees(uid)

    async def body(self) -> bytes:
        """The whole body. Raises `invalid_parameter` above the limits of small bodies: their size, their time."""
        try:
            async with asyncio.timeout(BODY_S):
                return await self._request.read()
        except (web.HTTPRequestEntityTooLarge, web.RequestPayloadError, TimeoutError):
            raise invalid("body") from None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, of any length. Raises `invalid_parameter` for one that drips."""
        loop = asyncio.get_running_loop()
        due, came = loop.time() + BODY_S, 0
        try:
            async for chunk in self._request.content.iter_any():
                came += len(chunk)
                if came >= SLOWEST:
                    due, came = loop.time() + BODY_S, 0
                elif loop.time() > due:
                    raise invalid("body")
                yield chunk
        except web.RequestPayloadError:
            raise invalid("body") from None

    def query(self) -> Query:
        """The parameters behind the question mark."""
        return Query(self._request.raw_path.partition("?")[2])


Call = Callable[[Asked], Awaitable[Answer]]
# By the name of their operation.
Calls = Mapping[str, Call]
JsonCall = Callable[[dict[str, str], bytes], Awaitable[bytes]]


def json_call(call: JsonCall) -> Call:
    """A call that needs its path parameters and a small body, and answers JSON."""

    async def asked(request: Asked) -> Answer:
        return Answer(await call(request.path, await request.body()))

    return asked
