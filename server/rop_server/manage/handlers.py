"""The operations on devices, events, claims and the manager."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from rop_server.core.facade import CallError, Devices
from rop_server.manage.body import number_in, read_object, uid_of, uids_of, word_of
from rop_server.manage.control import Control
from rop_server.manage.errors import ManageError, device_refusal, invalid
from rop_server.manage.settings import DeviceSettings, validate
from rop_server.session import session_document
from rop_server.state.book import DOCUMENTED, OPEN, Claims, FactsBook
from rop_server.state.leadership import NotManager
from rop_server.state.record import rfc3339

CHUNK = 500
MAX_WAIT_S = 60
MAX_MANAGER = 200


def json_bytes(document: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(document, separators=(",", ":")).encode()


def reply(document: Any, status: int = 200) -> web.Response:
    """A JSON response."""
    return raw_reply(document if isinstance(document, bytes) else json_bytes(document), status)


def raw_reply(body: bytes, status: int = 200) -> web.Response:
    """A response of ready-made JSON."""
    return web.Response(status=status, body=body, headers={"Content-Type": "application/json; charset=utf-8"})


class DeviceOperations:
    """What a manager sees of devices and does to them."""

    def __init__(self, devices: Devices, book: FactsBook, control: Control, clock: Callable[[], float]) -> None:
        self._devices = devices
        self._book = book
        self._control = control
        self._clock = clock
        self._settings = DeviceSettings(devices)

    async def list_devices(self, _request: web.Request) -> web.Response:
        """Every device, rendered in pieces so that a large book does not hold up the devices."""
        journal = self._book.journal
        # The position is taken first: what changes while we render is told again by an event.
        head = f'{{"epoch":"{journal.epoch}","next":{journal.next},"items":['.encode()
        parts: list[bytes] = []
        for index, uid in enumerate(self._book.uids()):
            if index % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
            document = self._book.document(uid)
            if document is not None:
                parts.append(json_bytes(document))
        return raw_reply(head + b",".join(parts) + b"]}")

    async def get_device(self, request: web.Request) -> web.Response:
        """One device."""
        document = self._book.document(_uid(request))
        if document is None:
            raise ManageError(404, "device_unknown", "no fact about this device is known")
        return reply(document)

    async def events(self, request: web.Request) -> web.Response:
        """Events after a position; waits for the first."""
        journal = self._book.journal
        since = number_in(request, "since")
        wait = number_in(request, "wait", 0, MAX_WAIT_S) or 0
        epoch = request.query.get("epoch", "")
        if since is None:
            raise invalid("since", "is needed: a number that `next` told")
        events = journal.since(since, epoch)
        if events == []:
            await journal.wait(since, wait)
            events = journal.since(since, epoch)
        if events is None:
            answer = {"epoch": journal.epoch, "next": journal.next, "reset": True, "items": []}
            return reply(answer)
        head = f'{{"epoch":"{journal.epoch}","next":{since + len(events)},"reset":false,"items":['.encode()
        return raw_reply(head + b",".join(event.encode() for event in events) + b"]}")

    async def device_settings(self, request: web.Request) -> web.Response:
        """Write and read settings."""
        uid = _uid(request)
        wake = may_wake(request)
        body = await read_object(request, "write", "read")
        wanted = validate(body.get("write", {}), body.get("read", []))
        before = self._wakes(uid)
        try:
            outcome = await self._settings.perform(uid, wanted, wake)
        except CallError as error:
            raise device_refusal(error) from None
        return reply(
            {
                "woke": self._wakes(uid) > before,
                "written": outcome.written,
                "values": outcome.values,
                "errors": outcome.errors,
            }
        )

    async def open_session(self, request: web.Request) -> web.Response:
        """An initialization session."""
        try:
            issued = self._devices.issue_code(_uid(request))
        except CallError as error:
            raise device_refusal(error) from None
        ca_hash = self._control.identity()["caHash"]
        document = session_document(issued, self._control.config(), ca_hash, self._clock())
        return reply(document | {"expiresAt": rfc3339(issued.expires_at)})

    async def set_access(self, request: web.Request) -> web.Response:
        """Allow or deny."""
        uid = _uid(request)
        body = await read_object(request, "access")
        access = word_of(body.get("access"), "access", "Allowed", "Denied")
        document = self._book.set_access(uid, access)
        if access == "Denied":
            await self._devices.disconnect(uid, "denied")
        return reply(self._book.document(uid) or document)

    def _wakes(self, uid: str) -> int:
        record = self._book.record(uid)
        return 0 if record is None else record.wakes


class FleetOperations:
    """Claims and the manager."""

    def __init__(self, book: FactsBook) -> None:
        self._book = book

    async def get_claims(self, _request: web.Request) -> web.Response:
        """Policy and claims."""
        return reply(_claims(self._book.claims()))

    async def replace_claims(self, request: web.Request) -> web.Response:
        """Replace policy and claims."""
        body = await read_object(request, "policy", "uids")
        policy = word_of(body.get("policy"), "policy", DOCUMENTED, OPEN)
        return reply(_claims(self._book.replace_claims(policy, uids_of(body.get("uids")))))

    async def claim(self, request: web.Request) -> web.Response:
        """Claim one UID."""
        return reply(_claims(self._book.claim(_uid(request))))

    async def release(self, request: web.Request) -> web.Response:
        """End a claim."""
        return reply(_claims(self._book.release(_uid(request))))

    async def get_manager(self, _request: web.Request) -> web.Response:
        """The manager."""
        return reply(self._manager())

    async def take_management(self, request: web.Request) -> web.Response:
        """Become the manager."""
        body = await read_object(request, "id", "takeOver")
        manager, take_over = body.get("id"), body.get("takeOver", False)
        if not isinstance(manager, str) or not 1 <= len(manager) <= MAX_MANAGER or not manager.isprintable():
            raise invalid("id", f"must be text of 1 to {MAX_MANAGER} printable characters")
        if not isinstance(take_over, bool):
            raise invalid("takeOver", "must be true or false")
        try:
            self._book.take_management(manager, take_over)
        except NotManager as error:
            raise ManageError(409, error.symbol, str(error)) from None
        return reply(self._manager())

    def _manager(self) -> dict[str, Any]:
        current = self._book.leadership.current
        return {"id": current.id, "fence": current.fence}


def may_wake(request: web.Request) -> bool:
    """Whether `wake` of the query allows to wake the device; without it, no."""
    return word_of(request.query.get("wake", "never"), "wake", "never", "allow") == "allow"


def _uid(request: web.Request) -> str:
    return uid_of(request.match_info["uid"])


def _claims(claims: Claims) -> dict[str, Any]:
    return {"policy": claims.policy, "uids": sorted(claims.uids)}
