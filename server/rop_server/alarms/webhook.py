"""One HTTP delivery of one alarm.

Source: ROP v1.0 wire specification, client-api 4; discrepancies A15, A16, C2.17.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from rop_server.alarms.sinks import Sink, signature_headers

TIMEOUT_S = 30.0
MAX_ANSWER = 65_536
MAX_RETRY_AFTER_S = 600.0
WECOM = "qyapi.weixin.qq.com"
CONTENT_TYPE = "application/json; charset=utf-8"


def alarm_body(uid: str, event: Mapping[str, object]) -> bytes:
    """The vendor's body of one alarm. Members that the device did not send are absent."""
    return _json({"uid": uid, **event})


def body_for(url: str, body: bytes) -> bytes:
    """The body as this address wants it: WeCom gets it as the text of a message."""
    if WECOM not in url:
        return body
    return _json({"msgtype": "text", "text": {"content": body.decode()}})


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt: `Sent`, `Refused` (another attempt would not change it) or `Failed`.

    `retry_after`: seconds the receiver asked for; `told`: status or kind of error, never an address.
    """

    result: str
    told: str
    retry_after: float | None = None


class Poster:
    """The HTTP client of the sinks. Redirects are not followed: they could lead anywhere."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(self, sink: Sink, id_: str, body: bytes, now: float) -> Outcome:
        """One attempt; raises nothing but CancelledError."""
        try:
            return await self._post(sink, id_, body_for(sink.url, body), now)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # The text of these errors can contain the address, so only their kind is told.
            return Outcome("Failed", type(error).__name__)

    async def _post(self, sink: Sink, id_: str, body: bytes, now: float) -> Outcome:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        headers = {"Content-Type": CONTENT_TYPE}
        if sink.key is not None:
            headers |= signature_headers(sink.key, id_, now, body)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with self._session.post(
            sink.url, data=body, headers=headers, allow_redirects=False, timeout=timeout
        ) as answer:
            # Reading the answer lets the connection be used again; a hostile one is cut off.
            await answer.content.read(MAX_ANSWER)
            return outcome_of(answer.status, answer.headers.get("Retry-After"))

    async def close(self) -> None:
        """Close idle connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def outcome_of(status: int, retry_after: str | None = None) -> Outcome:
    """What a status means. Any answer below 300 settles; busy and broken receivers are tried again."""
    told = f"status {status}"
    if status < 300:
        return Outcome("Sent", told)
    if status < 500 and status not in {408, 425, 429}:
        return Outcome("Refused", told)
    wait = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
    return Outcome("Failed", told, None if wait is None else min(wait, MAX_RETRY_AFTER_S))
