"""The HTTP application of 61009.

Source: ROP v1.0 wire specification, client-api 1 and 2.1 to 2.8; discrepancies B7, B31, C1.2, C2.11.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from rop_data.config import Config
from rop_server.client.calls import Call, DeviceCalls, encode
from rop_server.client.errors import ClientError
from rop_server.client.paths import PathTable
from rop_server.core.facade import CallError, Devices
from rop_wire.errors import WireError
from rop_wire.symbols import error_document

log = structlog.get_logger("rop.client")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# The largest body of the calls served here is a few dozen bytes; firmware uploads will have a limit of their own.
MAX_BODY = 65_536
JSON_TYPE = "application/json; charset=utf-8"
NOT_FOUND_BODY = b'{"message":"resource not found."}'


class ClientInterface:
    """Dispatches requests by their raw path and turns outcomes into the documented answers."""

    def __init__(self, calls: DeviceCalls) -> None:
        self._table: PathTable[Call] = PathTable(calls.routes())

    @web.middleware
    async def dispatch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request. The router of the framework decodes paths, so it is not asked."""
        found = self._table.find(request.method, request.raw_path)
        if found is None:
            return web.Response(
                status=404, reason="NOT FOUND", body=NOT_FOUND_BODY, headers={"Content-Type": JSON_TYPE}
            )
        call, parameters = found
        status = 200
        try:
            body = await call(parameters, await self._body(request))
        except ClientError as error:
            status, body = error.status, encode(error_document(error.symbol))
        except CallError as error:
            known = ClientError(error.symbol, error.detail)
            status, body = known.status, encode(error_document(known.symbol))
        except WireError as error:
            log.warning("device-answer", path=request.raw_path, error=str(error))
            status, body = 500, encode(error_document("server_internal_error"))
        except Exception:
            log.exception("failed", method=request.method, path=request.raw_path)
            status, body = 500, encode(error_document("server_internal_error"))
        return web.Response(status=status, body=body, headers={"Content-Type": JSON_TYPE})

    async def _body(self, request: web.Request) -> bytes:
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise ClientError("invalid_parameter", "body too large") from None


async def _no_software_names(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "rop-server"


def build_client_app(
    devices: Devices,
    config: Callable[[], Config],
    ca_hash: Callable[[], str],
    clock: Callable[[], float] = time.time,
) -> web.Application:
    """The application of 61009. `ca_hash` is the base64 SHA-256 of the root file; `clock` gives epoch seconds.

    Run it with `rop_server.client.listener.ClientListener`, which keeps the connection rules of client-api 1.
    """
    interface = ClientInterface(DeviceCalls(devices, config, ca_hash, clock))
    app = web.Application(middlewares=[interface.dispatch], client_max_size=MAX_BODY)
    app.on_response_prepare.append(_no_software_names)
    return app
