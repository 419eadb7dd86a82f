"""The HTTP application on the gateway's socket: three calls, nothing of the management interface."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web

from rop_pki import PkiError
from rop_server.gateway.desk import Desk, Malformed
from rop_server.gateway.report import GatewayReport

log = structlog.get_logger("rop.gateway")

PREFIX = "/gateway/v1"
MAX_BODY = 128 * 1024
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _reply(document: Any, status: int = 200) -> web.Response:
    return web.json_response(document, status=status)


def _refusal(status: int, symbol: str, message: str) -> web.Response:
    return _reply({"error": {"symbol": symbol, "message": message}}, status)


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Malformed as error:
        return _refusal(422, "invalid_parameter", str(error))
    except PkiError as error:
        return _refusal(403, "not_signed", str(error))
    except web.HTTPException as error:
        return _refusal(error.status, "refused", error.reason)
    except Exception:
        log.exception("failed", path=request.path)
        return _refusal(500, "server_internal_error", "see the server's log")


class _Calls:
    def __init__(self, desk: Desk, report: GatewayReport, sign: Callable[[str], str]) -> None:
        self._desk = desk
        self._report = report
        self._sign = sign

    async def authorize(self, request: web.Request) -> web.Response:
        """Who calls, and may they?"""
        return _reply(self._desk.decide(await _object(request)).document())

    async def certificate(self, request: web.Request) -> web.Response:
        """Sign a certificate request."""
        told = (await _object(request)).get("csr")
        if not isinstance(told, str):
            raise Malformed("csr: must be a certificate request as PEM")
        return _reply({"chain": self._sign(told)})

    async def status(self, request: web.Request) -> web.Response:
        """The gateway tells how it is."""
        self._report.take(await _object(request))
        return _reply({"message": "ok"})


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        told = json.loads(await request.read())
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise Malformed("body: must be a JSON object")
    return told


def build_gateway_app(desk: Desk, report: GatewayReport, sign: Callable[[str], str]) -> web.Application:
    """The application of `authorize.sock`. `sign(csr)` gives a chain or raises PkiError."""
    calls = _Calls(desk, report, sign)
    app = web.Application(middlewares=[_refusals], client_max_size=MAX_BODY)
    app.router.add_post(PREFIX + "/authorize", calls.authorize)
    app.router.add_post(PREFIX + "/certificate", calls.certificate)
    app.router.add_put(PREFIX + "/status", calls.status)
    return app
