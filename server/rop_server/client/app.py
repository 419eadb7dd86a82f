"""The HTTP application of 61009.

Source: ROP v1.0 wire specification, client-api 1 and 2.1 to 2.8; discrepancies B7, B31, C1.2, C2.11.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiohttp import web
from structlog.contextvars import bind_contextvars

from rop_data.config import Config
from rop_server.access.callers import Passes
from rop_server.audit import Audit
from rop_server.client.calls import DeviceCalls
from rop_server.client.errors import ClientError
from rop_server.client.exchange import JSON_TYPE, Answer, Asked, Call, Calls, Unserved, encode
from rop_server.client.listener import DESK, Desk
from rop_server.client.operations import OPERATIONS
from rop_server.client.paths import PathTable
from rop_server.core.facade import CallError, Devices
from rop_wire.errors import WireError
from rop_wire.symbols import error_document

log = structlog.get_logger("rop.client")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Bodies that are read as a whole; firmware comes in pieces and has limits of its own.
MAX_BODY = 65_536
# Answers by method, path template and status; what is not served has `-` for both.
COUNTS = web.AppKey("counts", Counter[tuple[str, str, int]])
PASS_HEADER = "Rop-Pass"  # noqa: S105 - a name
NOT_FOUND_BODY = b'{"message":"resource not found."}'


class ClientInterface:
    """Dispatches requests by their raw path and turns outcomes into the documented answers."""

    def __init__(self, rooms: Sequence[Calls], desk: Desk, passes: Passes, audit: Audit | None) -> None:
        self._desk = desk
        self._passes = passes
        self._audit = audit
        calls = {name: call for room in rooms for name, call in room.items()}
        self.counts: Counter[tuple[str, str, int]] = Counter()
        self._table: PathTable[tuple[str, Call]] = PathTable(
            {
                (each.method, each.path): (each.path, calls.pop(each.name))
                for each in OPERATIONS
                if each.name in calls
            }
        )
        if calls:
            raise ValueError(f"calls that no operation describes: {', '.join(calls)}")

    @web.middleware
    async def dispatch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request. The router of the framework decodes paths, so it is not asked."""
        caller = None
        if through_gateway(request):
            caller = self._passes.take(request.headers.get(PASS_HEADER, ""), request.method, request.raw_path)
            if caller is None:
                self.counts["-", "-", 403] += 1
                return _refused(ClientError("auth_failed"))
        found = self._table.find(request.method, request.raw_path)
        if found is None:
            self.counts["-", "-", 404] += 1
            return _not_found()
        (template, call), parameters = found
        # Every line of this call, and of what it leaves running, names the connection.
        bind_contextvars(connection=self._desk.begins(request.protocol))
        try:
            response = await _outcome(call, Asked(parameters, request, caller), request)
        finally:
            self._desk.ends(request.protocol)
        self.counts[request.method, template, response.status] += 1
        if self._audit is not None and request.method != "GET":
            who = caller.name if caller is not None else f"address {request.remote}"
            told = f"{request.method} {template}"
            self._audit.note("ClientAPI", told, who, response.status, parameters.get("uid"))
        return response


def through_gateway(request: web.Request) -> bool:
    """Whether a request came over the gateway's socket, on which nobody is served without a pass."""
    sock = None if request.transport is None else request.transport.get_extra_info("socket")
    return sock is not None and sock.family == socket.AF_UNIX


async def _outcome(call: Call, asked: Asked, request: web.Request) -> web.Response:
    try:
        answer = await call(asked)
    except Unserved:
        return _not_found()
    except ClientError as error:
        return _refused(error)
    except CallError as error:
        return _refused(ClientError(error.symbol, error.detail))
    except WireError as error:
        log.warning("device-answer", path=_path(request), error=str(error))
        return _refused(ClientError("server_internal_error"))
    except Exception:
        log.exception("failed", method=request.method, path=_path(request))
        return _refused(ClientError("server_internal_error"))
    return _response(200, answer)


def _path(request: web.Request) -> str:
    """For the log: without the query, which carries cursors and file names of clients."""
    return request.raw_path.partition("?")[0]


def _response(status: int, answer: Answer) -> web.Response:
    return web.Response(status=status, body=answer.body, headers={"Content-Type": answer.content_type})


def _refused(error: ClientError) -> web.Response:
    return _response(error.status, Answer(encode(error_document(error.symbol))))


def _not_found() -> web.Response:
    return web.Response(status=404, reason="NOT FOUND", body=NOT_FOUND_BODY, headers={"Content-Type": JSON_TYPE})


async def _unreachable(_request: web.Request) -> web.StreamResponse:
    return _not_found()


async def _no_software_names(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "rop-server"


def build_client_app(
    devices: Devices,
    config: Callable[[], Config],
    ca_hash: Callable[[], str],
    clock: Callable[[], float] = time.time,
    more: Sequence[Calls] = (),
    passes: Passes | None = None,
    audit: Audit | None = None,
) -> web.Application:
    """The application of 61009. `ca_hash` is the base64 SHA-256 of the root file; `clock` gives epoch seconds.
    `more` are the calls of further rooms (recordings, WiFi, firmware, ...). `passes`: of callers of the gateway.
    `audit`: where calls that change something are written down.

    Run it with `rop_server.client.listener.ClientListener`, which keeps the connection rules of client-api 1.
    """
    desk = Desk()
    rooms = [DeviceCalls(devices, config, ca_hash, clock).calls(), *more]
    interface = ClientInterface(rooms, desk, Passes(time.monotonic) if passes is None else passes, audit)
    app = web.Application(middlewares=[interface.dispatch], client_max_size=MAX_BODY)
    # The framework's router finds this one; without it, it would make an exception of every request.
    app.router.add_route("*", "/{any:.*}", _unreachable)
    app[COUNTS] = interface.counts
    app[DESK] = desk
    app.on_response_prepare.append(_no_software_names)
    return app
