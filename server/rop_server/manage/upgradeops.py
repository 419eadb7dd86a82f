"""The operations on upgrades: begin one, what became of each, whose business which camera is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from rop_server.core.facade import CallError, Devices
from rop_server.core.upgrades import Upgrade, Upgrades, Wanted
from rop_server.manage.body import read_object, uid_of, uids_of
from rop_server.manage.errors import device_refusal, invalid
from rop_server.manage.firmware import sha256_of
from rop_server.manage.handlers import may_wake, reply
from rop_server.state.book import FactsBook
from rop_server.state.record import rfc3339

LONGEST_HOLD = 86_400
MAX_HOLDER = 200


class UpgradeOperations:
    """Upgrades of devices."""

    def __init__(self, upgrades: Upgrades, devices: Devices, book: FactsBook, clock: Callable[[], float]) -> None:
        self._upgrades = upgrades
        self._devices = devices
        self._book = book
        self._clock = clock
        upgrades.on_settled.append(self._settled)

    async def list_upgrades(self, _request: web.Request) -> web.Response:
        """The newest upgrade of every device, and every hold."""
        return reply(self._listed())

    async def begin_upgrade(self, request: web.Request) -> web.Response:
        """Begin one; the answer comes at once."""
        uid, wake = uid_of(request.match_info["uid"]), may_wake(request)
        body = await read_object(request, "file", "sha256", "factoryReset", "holder")
        file, reset = body.get("file"), body.get("factoryReset", False)
        if not isinstance(file, str):
            raise invalid("file", "must be the name of a firmware file")
        if not isinstance(reset, bool):
            raise invalid("factoryReset", "must be true or false")
        holder = None if body.get("holder") is None else _holder(body["holder"])
        wanted = Wanted(uid, file, reset, sha256_of(body.get("sha256")), holder)
        link = self._devices.link(uid)
        try:
            if link is not None and link.asleep and not wake:
                raise CallError("device_asleep")
            return reply(document(await self._upgrades.start(wanted)))
        except CallError as error:
            raise device_refusal(error) from None

    async def hold_upgrades(self, request: web.Request) -> web.Response:
        """From now on these cameras, and no others, are this holder's."""
        body = await read_object(request, "holder", "uids", "seconds")
        holder, uids, seconds = _holder(body.get("holder")), uids_of(body.get("uids")), body.get("seconds")
        if type(seconds) is not int or not 1 <= seconds <= LONGEST_HOLD:
            raise invalid("seconds", f"must be a whole number from 1 to {LONGEST_HOLD}")
        self._upgrades.holds.take(holder, uids, float(seconds))
        return reply(self._listed())

    def _listed(self) -> dict[str, Any]:
        items = [document(each) for each in self._upgrades.newest()]
        return {"items": items, "holds": self._upgrades.holds.all()}

    def _settled(self, upgrade: Upgrade) -> None:
        self._book.note("upgrade.settled", upgrade.uid, document(upgrade), self._clock())


def document(upgrade: Upgrade) -> dict[str, Any]:
    """An upgrade as JSON."""
    return {
        "uid": upgrade.uid,
        "session": upgrade.id,
        "file": upgrade.file_name,
        "sha256": upgrade.sha256,
        "factoryReset": upgrade.reset,
        "holder": upgrade.holder,
        "status": upgrade.status,
        "reason": upgrade.reason,
        "before": upgrade.before,
        "beganAt": rfc3339(upgrade.began),
        "endedAt": rfc3339(upgrade.ended),
    }


def _holder(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_HOLDER or not value.isprintable():
        raise invalid("holder", f"must be text of 1 to {MAX_HOLDER} printable characters")
    return value
