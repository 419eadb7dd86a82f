"""Decides for the gateway: who a caller is, whether the call is theirs, and the pass that says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rop_server.access.callers import Caller, Passes
from rop_server.access.grants import EVERYTHING, Grant, GrantError, decode_grant
from rop_server.client.operations import OPERATIONS, Operation
from rop_server.client.paths import PathTable
from rop_server.state.book import FactsBook

ALLOWED, UNKNOWN, FORBIDDEN = "allowed", "unknown", "forbidden"
MAX_TARGET = 8192
# Never through a gateway, also while nobody serves it: the vendor's internal calls.
CLOSED = "/v1.0/rtsp/"
PATHS: PathTable[Operation] = PathTable({(each.method, each.path): each for each in OPERATIONS})


class Malformed(Exception):
    """The gateway's question is none; names the member."""


@dataclass(frozen=True, slots=True)
class Decision:
    """`decision` is `allowed`, `unknown` (401) or `forbidden` (403); `ticket`: the pass of an allowed request."""

    decision: str
    caller: str = ""
    ticket: str = ""

    def document(self) -> dict[str, str]:
        """As JSON."""
        return {"decision": self.decision, "caller": self.caller, "pass": self.ticket}


def permits(grant: Grant, sees: Callable[[str], bool], method: str, target: str) -> bool:
    """Whether a grant is enough for a request. What 61009 does not know is answered there, with 404."""
    if target.startswith(CLOSED):
        return False
    found = PATHS.find(method, target)
    if found is None:
        return True
    operation, parameters = found
    if operation.verb is None or operation.verb not in grant.verbs:
        return False
    if operation.common:
        return grant.cameras is None
    uid = parameters.get("uid")
    return uid is None or grant.cameras is None or sees(uid)


class Desk:
    """Answers `authorize`. `clock` gives epoch seconds."""

    def __init__(self, book: FactsBook, passes: Passes, clock: Callable[[], float]) -> None:
        self._book = book
        self._passes = passes
        self._clock = clock

    def decide(self, question: Mapping[str, Any]) -> Decision:
        """The decision about one request. Raises Malformed."""
        method, target = _text(question, "method", 32), _text(question, "target", MAX_TARGET)
        proven = self._proven(question)
        if proven is None:
            return Decision(UNKNOWN)
        name, grant, until = proven

        def sees(uid: str) -> bool:
            return grant.cameras is None or grant.cameras.include(uid, self._book.labels.of)

        if not permits(grant, sees, method, target):
            return Decision(FORBIDDEN, name)
        play = question.get("play") or {}
        caller = Caller(
            name,
            sees,
            address=_text(question, "address", 64),
            prefix=_text(question, "playURLPrefix", 1024),
            bind_to_address=play.get("bindToAddress") is True,
            single_viewer=play.get("singleViewer") is True,
            until=until,
        )
        return Decision(ALLOWED, name, self._passes.give(caller, method, target))

    def _proven(self, question: Mapping[str, Any]) -> tuple[str, Grant, float | None] | None:
        """Name, grant and end of a caller: by a token of ours, or as the gateway has proven it."""
        if "token" in question:
            token = self._book.gateway_tokens.verify(_text(question, "token", 256), self._clock())
            return None if token is None else (f"token {token.name}", token.grant, token.expires_at)
        name = _text(question, "caller", 128)
        try:
            return name, EVERYTHING if question.get("grant") is None else decode_grant(question["grant"]), None
        except GrantError as error:
            raise Malformed(str(error)) from None


def _text(question: Mapping[str, Any], name: str, most: int) -> str:
    value = question.get(name)
    if not isinstance(value, str) or not value or len(value) > most:
        raise Malformed(f"{name}: must be text of 1 to {most} characters")
    return value
