"""The operations on the gateway: its state, its certificate, tokens of its callers, labels of cameras."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from aiohttp import web

from rop_pki import PkiError
from rop_server.access.grants import MAX_LABELS, GrantError, decode_grant, is_label
from rop_server.manage.body import MAX_UIDS, read_object, uid_of
from rop_server.manage.errors import ManageError, invalid
from rop_server.manage.handlers import reply
from rop_server.state.book import FactsBook
from rop_server.state.gateway_tokens import GatewayToken
from rop_server.state.record import rfc3339
from rop_server.state.tokens import TokenError


class Gateway(Protocol):
    """What the operations need of the gateway's part of the server."""

    def status(self) -> dict[str, Any]:
        """What the gateway says of itself."""
        ...

    def sign(self, csr_pem: str) -> str:
        """A chain. Raises PkiError."""
        ...


class GatewayOperations:
    """The room. `gateway` None: a server without that part."""

    def __init__(self, gateway: Gateway | None, book: FactsBook, clock: Callable[[], float]) -> None:
        self._gateway = gateway
        self._book = book
        self._clock = clock

    async def get_gateway(self, _request: web.Request) -> web.Response:
        """Its state."""
        nothing = {"present": False, "reportedAt": None, "status": None}
        return reply(nothing if self._gateway is None else self._gateway.status())

    async def sign_gateway_certificate(self, request: web.Request) -> web.Response:
        """Its certificate."""
        csr = (await read_object(request, "csr")).get("csr")
        if not isinstance(csr, str):
            raise invalid("csr", "must be a certificate request as PEM")
        if self._gateway is None:
            raise ManageError(403, "not_signed", "this server has no part for a gateway")
        try:
            return reply({"chain": self._gateway.sign(csr)})
        except PkiError as error:
            raise ManageError(403, "not_signed", str(error)) from None

    async def list_gateway_tokens(self, _request: web.Request) -> web.Response:
        """Every token."""
        return reply(self._tokens())

    async def create_gateway_token(self, request: web.Request) -> web.Response:
        """A new token."""
        body = await read_object(request, "name", "verbs", "cameras", "expiresAt")
        name, ends = body.get("name"), _time(body.get("expiresAt"))
        if not isinstance(name, str):
            raise invalid("name", "must be text")
        if any(each.name == name for each in self._book.gateway_tokens.tokens()):
            raise ManageError(409, "token_exists", f"a token named {name} exists; revoke it first", "name")
        try:
            token = self._book.gateway_tokens.create(name, decode_grant(body), self._clock(), ends)
        except GrantError as error:
            raise invalid(error.member, error.rule) from None
        except TokenError as error:
            field, _, rule = str(error).partition(" ")
            raise invalid(field, rule) from None
        self._book.note("gateway.token", None, {"name": name, "what": "Created"}, self._clock())
        return reply({"name": name, "token": token, "expiresAt": rfc3339(ends)})

    async def revoke_gateway_token(self, request: web.Request) -> web.Response:
        """No token any more."""
        name = request.match_info["name"]
        try:
            self._book.gateway_tokens.revoke(name)
        except TokenError as error:
            raise ManageError(404, "token_unknown", str(error)) from None
        self._book.note("gateway.token", None, {"name": name, "what": "Revoked"}, self._clock())
        return reply(self._tokens())

    async def replace_labels(self, request: web.Request) -> web.Response:
        """Labels of all cameras."""
        labels = (await read_object(request, "labels")).get("labels")
        if not isinstance(labels, dict) or len(labels) > MAX_UIDS:
            raise invalid("labels", f"must be an object of at most {MAX_UIDS} UIDs and their labels")
        for uid, told in labels.items():
            uid_of(uid, f"labels.{uid[:32]}")
            if not isinstance(told, dict) or len(told) > MAX_LABELS or not all(map(is_label, told.items())):
                raise invalid(f"labels.{uid}", f"must be at most {MAX_LABELS} labels as Kubernetes has them")
        self._book.labels.replace(labels)
        return reply({"cameras": len(self._book.labels)})

    def _tokens(self) -> dict[str, Any]:
        return {"items": [_shown(each) for each in self._book.gateway_tokens.tokens()]}


def _shown(token: GatewayToken) -> dict[str, Any]:
    ends = {"createdAt": rfc3339(token.created_at), "expiresAt": rfc3339(token.expires_at)}
    return {"name": token.name, **token.grant.document(), **ends}


def _time(value: Any) -> float:
    try:
        told = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except (AttributeError, ValueError):
        told = None
    if told is None or told.tzinfo is None:
        raise invalid("expiresAt", "must be a time such as 2027-01-31T00:00:00Z")
    return told.timestamp()
