"""STATE/agent.sock: what `ropctl` asks the agent of this host. HTTP and JSON, for the socket's owner and group."""

import contextlib
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from rop_operator.adapters.fleet_transport import SUN_PATH_LIMIT
from rop_operator.adapters.host_database import timestamp
from rop_operator.adapters.host_store import HostStore
from rop_operator.adapters.image_store import PIECE, ImageStore
from rop_operator.api.facts import DeviceFacts, Found, Ref, Session
from rop_operator.api.questions import VERBS, Question
from rop_operator.api.registry import API_VERSION, kind_called
from rop_operator.domain.deletion import deletion_refused
from rop_operator.errors import DocumentsRefused
from rop_operator.ports import PortError

log = logging.getLogger(__name__)

MODE = 0o660
MAX_BODY = 16 * 1024 * 1024
MAX_WAIT = 60.0
MAX_DISCOVERY = 30.0
STATUS: Mapping[str, int] = {
    "NotFound": 404,
    "BadRequest": 400,
    "Conflict": 409,
    "AcknowledgementMissing": 409,
    "SourceMissing": 409,
    "ServerNotReady": 503,
    "Unreachable": 503,
    "TooLarge": 413,
    "StoreFull": 507,
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Operations(Protocol):
    """What the socket needs of the engine."""

    async def session(self, server: Ref, uid: str) -> Session:
        """An initialization session of a server."""
        ...

    async def pki(self, server: Ref) -> Mapping[str, Any]:
        """The authority and the census of a server."""
        ...

    async def approve_renewal(self, server: Ref, uid: str, seconds: float) -> Mapping[str, Any]:
        """Let a device renew once within this time."""
        ...

    async def discover(self, seconds: float) -> Sequence[Found]:
        """What answers on the LAN."""
        ...

    async def ask(self, server: Ref, question: Question) -> Mapping[str, Any]:
        """What a person asks of a server."""
        ...

    def look_at(self, ref: Ref) -> None:
        """Reconcile this document soon."""
        ...

    def devices(self, server: Ref) -> Sequence[DeviceFacts]:
        """Every device that a server has ever seen."""
        ...


class AgentSocket:
    """The application and its listener."""

    def __init__(
        self, store: HostStore, operations: Operations, images: ImageStore, facts: Mapping[str, str]
    ) -> None:
        """`facts` are shown by `/v1/health`."""
        self._store = store
        self._operations = operations
        self._images = images
        self._facts = dict(facts)
        self._runner: web.AppRunner | None = None
        self._path: Path | None = None

    def application(self) -> web.Application:
        """The routes."""
        application = web.Application(client_max_size=MAX_BODY, middlewares=[_errors])
        application.router.add_get("/v1/health", self._health)
        application.router.add_get("/v1/objects", self._list)
        application.router.add_get("/v1/objects/{kind}/{namespace}/{name}", self._get)
        application.router.add_delete("/v1/objects/{kind}/{namespace}/{name}", self._delete)
        application.router.add_post("/v1/apply", self._apply)
        application.router.add_get("/v1/events", self._events)
        application.router.add_get("/v1/watch", self._watch)
        application.router.add_post("/v1/servers/{namespace}/{name}/initialization-session", self._session)
        application.router.add_get("/v1/servers/{namespace}/{name}/devices", self._devices)
        application.router.add_get("/v1/servers/{namespace}/{name}/pki", self._pki)
        application.router.add_put("/v1/servers/{namespace}/{name}/devices/{uid}/renewal", self._renewal)
        application.router.add_post("/v1/servers/{namespace}/{name}/questions", self._question)
        application.router.add_post("/v1/discover", self._discover)
        application.router.add_put("/v1/firmware/{sha256}", self._firmware)
        return application

    async def start(self, path: Path) -> None:
        """Listen; a socket left behind by a dead agent is replaced."""
        self._path = path
        self._runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        await web.SockSite(self._runner, _listen(path)).start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _health(self, _: web.Request) -> web.Response:
        scan = self._store.scan
        return web.json_response(
            {
                "status": "ok",
                **self._facts,
                "source": self._store.source,
                "files": len(scan.objects) + len(scan.broken),
                "errors": [error.as_json() for error in scan.errors()],
            }
        )

    async def _list(self, request: web.Request) -> web.Response:
        kind = _kind(request.query["kind"]) if request.query.get("kind") else None
        items = self._store.objects(kind, request.query.get("namespace"))
        return web.json_response({"apiVersion": API_VERSION, "kind": "List", "items": items})

    async def _get(self, request: web.Request) -> web.Response:
        ref = _ref(request)
        found = self._store.object(ref)
        if found is None:
            raise PortError("NotFound", f"there is no {ref}")
        return web.json_response(found)

    async def _apply(self, request: web.Request) -> web.Response:
        body = await _object(request)
        documents = body.get("documents")
        if not isinstance(documents, list) or not all(isinstance(d, dict) for d in documents):
            raise PortError("BadRequest", "documents is a list of objects")
        log.info("apply", extra={"documents": len(documents), "peer": _peer(request)})
        results = self._store.apply(documents, str(body.get("source") or "-"))
        return web.json_response({"results": [{"ref": str(ref), "result": result} for ref, result in results]})

    async def _delete(self, request: web.Request) -> web.Response:
        ref = _ref(request)
        document = await self._store.get(ref)
        if document is None:
            raise PortError("NotFound", f"there is no {ref}")
        refused = deletion_refused(document)
        if refused is not None:
            raise PortError("AcknowledgementMissing", refused)
        log.info("delete", extra={"ref": str(ref), "peer": _peer(request)})
        self._store.delete(ref)
        return web.json_response({"ref": str(ref), "result": "deleted"}, status=202)

    async def _events(self, request: web.Request) -> web.Response:
        query = request.query
        kind = _kind(query["kind"]) if query.get("kind") else None
        return web.json_response({"items": self._store.events(kind, query.get("namespace"), query.get("name"))})

    async def _watch(self, request: web.Request) -> web.Response:
        since, wait = _number(request.query.get("since", "0")), _number(request.query.get("wait", "0"))
        return web.json_response(await self._store.watch(int(since), min(MAX_WAIT, wait)))

    def _server(self, request: web.Request) -> Ref:
        server = Ref("RopServer", request.match_info["namespace"], request.match_info["name"])
        if self._store.object(server) is None:
            raise PortError("NotFound", f"there is no {server}")
        return server

    async def _devices(self, request: web.Request) -> web.Response:
        devices = self._operations.devices(self._server(request))
        items = [d.model_dump(mode="json", by_alias=True, exclude_none=True) for d in devices]
        return web.json_response({"items": items})

    async def _question(self, request: web.Request) -> web.Response:
        body = await _object(request)
        verb, arguments = body.get("verb"), body.get("arguments", {})
        if verb not in VERBS or not isinstance(arguments, dict):
            raise PortError("BadRequest", f"verb is one of {', '.join(VERBS)}, arguments an object")
        log.info("question", extra={"verb": verb, "peer": _peer(request)})
        answer = await self._operations.ask(self._server(request), Question(verb, arguments))
        return web.json_response(dict(answer), headers={"Cache-Control": "no-store"})

    async def _session(self, request: web.Request) -> web.Response:
        body = await _object(request)
        server = self._server(request)
        session = await self._operations.session(server, str(body.get("uid", "")))
        log.info("initialization session", extra={"uid": session.uid[:16], "peer": _peer(request)})
        answer = {"document": dict(session.document), "expiresAt": timestamp(session.expires_at)}
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    async def _pki(self, request: web.Request) -> web.Response:
        return web.json_response(dict(await self._operations.pki(self._server(request))))

    async def _renewal(self, request: web.Request) -> web.Response:
        seconds = (await _object(request)).get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise PortError("BadRequest", "seconds is a number")
        server, uid = self._server(request), request.match_info["uid"]
        log.info("approve renewal", extra={"uid": uid[:16], "peer": _peer(request)})
        return web.json_response(dict(await self._operations.approve_renewal(server, uid, seconds)))

    async def _discover(self, request: web.Request) -> web.Response:
        seconds = (await _object(request)).get("seconds", 3.0)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MAX_DISCOVERY:
            raise PortError("BadRequest", f"seconds is a number above 0, at most {MAX_DISCOVERY:.0f}")
        found = await self._operations.discover(float(seconds))
        return web.json_response({"items": [{"uid": f.uid, "address": f.address, "port": f.port} for f in found]})

    async def _firmware(self, request: web.Request) -> web.Response:
        """A firmware file, kept when it has the hash that a FirmwareImage asks for."""
        sha256 = request.match_info["sha256"]
        wanting = [d.ref for d in await self._store.list("FirmwareImage") if d.spec.get("sha256") == sha256]
        if not wanting:
            raise PortError("NotFound", f"no FirmwareImage has the sha256 {sha256[:64]}; apply it first")
        log.info("firmware", extra={"sha256": sha256, "peer": _peer(request)})
        path = await self._images.receive(sha256, request.content.iter_chunked(PIECE))
        for ref in wanting:
            self._operations.look_at(ref)
        return web.json_response({"sha256": sha256, "size": path.stat().st_size})


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error as JSON with a reason and a message for a person."""
    try:
        return await handler(request)
    except DocumentsRefused as refused:
        return web.json_response({"errors": [error.as_json() for error in refused.errors]}, status=422)
    except PortError as error:
        return _refusal(error.reason, error.message, STATUS.get(error.reason, 422))
    except web.HTTPException as error:
        return _refusal("BadRequest" if error.status != 404 else "NotFound", error.reason, error.status)
    except OSError as error:
        return _refusal("NotWritten", f"{error.filename or 'a file'}: {error.strerror}", 507)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _refusal("Internal", "the agent failed; its log has the reason", 500)


def _refusal(reason: str, message: str, status: int) -> web.Response:
    return web.json_response({"error": {"reason": reason, "message": message}}, status=status)


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise PortError("BadRequest", "the body is a JSON object")
    return body


def _kind(word: str) -> str:
    kind = kind_called(word)
    if kind is None:
        raise PortError("NotFound", f"there is no kind {word[:60]!r}")
    return kind.kind


def _ref(request: web.Request) -> Ref:
    match = request.match_info
    return Ref(_kind(match["kind"]), match["namespace"], match["name"])


def _number(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        raise PortError("BadRequest", "since and wait are numbers") from None


def _peer(request: web.Request) -> str:
    """Who asked: uid and pid of the peer process."""
    sock = request.transport.get_extra_info("socket") if request.transport else None
    if sock is None:
        return "unknown"
    with contextlib.suppress(OSError):
        pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return f"uid {uid}, pid {pid}"
    return "unknown"


def _listen(path: Path) -> socket.socket:
    """A listening unix socket of mode 0660, through its folder's descriptor when the path is too long."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    before = os.umask(0o777 & ~MODE)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        long = len(os.fsencode(path)) > SUN_PATH_LIMIT
        sock.bind(f"/proc/self/fd/{folder}/{path.name}" if long else str(path))
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
        os.close(folder)
    sock.listen(64)
    return sock
