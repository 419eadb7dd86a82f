"""The operations on the authority: what it is, who holds what of it, and a renewal that a person approves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from rop_server.manage.body import read_object
from rop_server.manage.control import Control
from rop_server.manage.errors import ManageError, invalid
from rop_server.manage.handlers import reply
from rop_server.manage.rotationops import document
from rop_server.rotation.census import census
from rop_server.rotation.item import Item, Rotating
from rop_server.state.book import FactsBook
from rop_server.state.record import rfc3339
from rop_wire.auth import valid_uid

MAX_APPROVAL_S = 7 * 86400

Authority = Callable[[], Mapping[str, Any]]
"""Facts of the authority: `root`, `intermediate`, `serverCertificate`, and `rootPEM`. Times are epoch seconds."""


class PkiOperations:
    """The authority of one server."""

    def __init__(
        self,
        authority: Authority,
        rotations: Mapping[Item, Rotating],
        book: FactsBook,
        control: Control,
        clock: Callable[[], float],
    ) -> None:
        self._authority = authority
        self._rotations = rotations
        self._book = book
        self._control = control
        self._clock = clock

    async def get_pki(self, _request: web.Request) -> web.Response:
        """Authority, rotations and census."""
        told = {name: _timed(value) for name, value in self._authority().items()}
        current = self._control.config().current_key_index
        rotations = [document(each.state()) for each in self._rotations.values()]
        return reply({**told, "rotations": rotations, "census": census(self._book, current, self._clock())})

    async def approve_renewal(self, request: web.Request) -> web.Response:
        """One renewal, within a time."""
        uid = request.match_info["uid"]
        seconds = (await read_object(request, "seconds")).get("seconds")
        if not valid_uid(uid) or self._book.record(uid) is None:
            raise ManageError(404, "device_unknown", f"no device {uid[:16]} was ever seen here")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MAX_APPROVAL_S:
            raise invalid("seconds", f"must be a number above 0, at most {MAX_APPROVAL_S}")
        if self._book.admit(uid, None, None, None, self._clock()) is not None:
            raise ManageError(409, "denied", "the device is denied; allow it first")
        until = self._clock() + seconds
        self._book.approve_renewal(uid, until)
        return reply({"uid": uid, "until": rfc3339(until)})


def _timed(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: rfc3339(each) if name == "notAfter" else each for name, each in value.items()}
