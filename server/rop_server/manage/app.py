"""The HTTP application of the management interface, put together from the table of operations."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from aiohttp import web

from rop_server import logs
from rop_server.audit import Audit
from rop_server.core.facade import Devices
from rop_server.core.scans import Scans
from rop_server.core.upgrades import Upgrades
from rop_server.core.uploads import Uploads
from rop_server.core.wifi import Wifi
from rop_server.manage.alarmops import AlarmOperations, Alarms
from rop_server.manage.backupops import Backing, BackupOperations
from rop_server.manage.control import Control
from rop_server.manage.errors import ManageError
from rop_server.manage.firmware import FirmwareOperations
from rop_server.manage.gate import Gate
from rop_server.manage.gatewayops import Gateway, GatewayOperations
from rop_server.manage.handlers import DeviceOperations, FleetOperations, reply
from rop_server.manage.logops import LogOperations
from rop_server.manage.operations import OPERATIONS, PREFIX, Operation
from rop_server.manage.pkiops import Authority, PkiOperations
from rop_server.manage.rotationops import RotationOperations
from rop_server.manage.serverops import ServerOperations
from rop_server.manage.streamops import StreamOperations
from rop_server.manage.upgradeops import UpgradeOperations
from rop_server.manage.wifiops import WifiOperations
from rop_server.media.report import StreamReport
from rop_server.metrics import Metrics, Source
from rop_server.rotation.item import Item, Rotating
from rop_server.state.book import FactsBook

log = structlog.get_logger("rop.manage")

# 100,000 claimed UIDs with their quotes and commas.
MAX_BODY = 4 * 1024 * 1024
INSTANCE_HEADER = "Rop-Instance"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as an error document; nothing of our insides is told."""
    try:
        return await handler(request)
    except ManageError as error:
        response = reply(error.document(), error.status)
        if error.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response
    except web.HTTPException as error:
        symbol = {404: "not_found", 405: "method_not_allowed"}.get(error.status, "refused")
        response = reply(ManageError(error.status, symbol, error.reason).document(), error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:
        log.exception("failed", method=request.method, path=request.path)
        return reply(ManageError(500, "server_internal_error", "see the server's log").document(), 500)


def _guarded(operation: Operation, call: Handler, gate: Gate, audit: Audit | None) -> Handler:
    async def audited(request: web.Request, caller: str) -> web.StreamResponse:
        status = 500
        try:
            response = await call(request)
            status = response.status
        except ManageError as error:
            status = error.status
            raise
        finally:
            if audit is not None:
                audit.note("Management", operation.name, caller, status, request.match_info.get("uid"))
        return response

    async def handle(request: web.Request) -> web.StreamResponse:
        if operation.scope is None:
            return await call(request)
        caller = gate.admit(request, operation.scope)
        if operation.fenced:
            gate.fence(request)
        if operation.method != "GET":
            log.info("managed", operation=operation.name, path=request.path, caller=caller.name)
            return await audited(request, caller.name)
        return await call(request)

    return handle


def build_manage_app(
    devices: Devices,
    book: FactsBook,
    control: Control,
    alarms: Alarms | None = None,
    clock: Callable[[], float] = time.time,
    *,
    uploads: Uploads,
    upgrades: Upgrades,
    scans: Scans | None = None,
    streams: StreamReport | None = None,
    backups: Backing | None = None,
    sources: Sequence[Source] = (),
    rotations: Mapping[Item, Rotating] | None = None,
    gateway: Gateway | None = None,
    authority: Authority = dict,
    audit: Audit | None = None,
) -> web.Application:
    """The application of `/manage/v1`. Serve it with `rop_server.manage.listener.ManageListener`."""
    identity = control.identity()
    if book.root_sha256 is None:
        book.root_sha256 = identity["rootSHA256"]
    more = (*sources, streams.families) if streams is not None else sources
    metrics = Metrics(devices, book, alarms, lambda: _certificate_end(control), more)
    rooms = (
        DeviceOperations(devices, book, control, clock),
        FleetOperations(book),
        ServerOperations(book, control, metrics, clock),
        FirmwareOperations(uploads),
        UpgradeOperations(upgrades, devices, book, clock),
        AlarmOperations(alarms),
        StreamOperations(streams),
        BackupOperations(backups),
        RotationOperations(rotations or {}),
        PkiOperations(authority, rotations or {}, book, control, clock),
        GatewayOperations(gateway, book, clock),
        LogOperations(logs.recent(), audit),
        WifiOperations(devices, book, control, scans or Scans(Wifi(devices), clock)),
    )
    gate = Gate(book)
    app = web.Application(middlewares=[_refusals], client_max_size=MAX_BODY)
    for operation in OPERATIONS:
        room = next(room for room in rooms if hasattr(room, operation.name))
        handler = _guarded(operation, getattr(room, operation.name), gate, audit)
        app.router.add_route(operation.method, PREFIX + operation.path, handler)

    async def mark(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers[INSTANCE_HEADER] = identity["instanceID"]
        response.headers["Server"] = "rop-server"
        response.headers["Cache-Control"] = "no-store"

    async def release(_app: web.Application) -> None:
        book.journal.close()

    app.on_response_prepare.append(mark)
    app.on_shutdown.append(release)
    return app


def _certificate_end(control: Control) -> float | None:
    ends = control.identity()["serverCertificate"]["notAfter"]
    return float(ends) if isinstance(ends, int | float) else None
