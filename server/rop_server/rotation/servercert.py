"""The server certificate, replaced before its time. Open connections go on; new handshakes get the new one.

Its ordinary renewal is no rotation and changes no generation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from rop_data.authority import ServerLeaf
from rop_data.rotations import RotationFile
from rop_pki import inspect
from rop_server.rotation.item import Item, Order, RotationRefused, Step
from rop_server.rotation.kept import KeptItem, Note
from rop_server.state.record import rfc3339


class Presenting(Protocol):
    """The server certificate of a running server."""

    def serving(self) -> ServerLeaf:
        """The one in use. Raises OSError."""
        ...

    def issue(self, now: datetime) -> ServerLeaf:
        """A new one that nobody uses yet."""
        ...

    def usable(self, leaf: ServerLeaf, now: datetime, margin: timedelta) -> bool:
        """Whether it is this server's and does not end within the margin."""
        ...

    def present(self, leaf: ServerLeaf) -> None:
        """Write it and present it from the next handshake on."""
        ...


class ServerCertificateRotation(KeptItem):
    """`data`: `next` is the one to come; then `wanted` is in use `instead` of another one."""

    item = Item.SERVER_CERTIFICATE

    def __init__(self, file: RotationFile, server: Presenting, clock: Callable[[], float], note: Note) -> None:
        super().__init__(file, clock, note)
        self._server = server

    @property
    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _take(self, order: Order) -> None:
        data = self.progress.data
        if order.step is Step.PREPARE:
            self._move(order, {"next": _encode(self._server.issue(self._now))})
        elif order.step is Step.ROLL:
            self._switch(
                order, data["next"], "it was made for another host or L2 CA, or ends; abort and begin anew"
            )
        elif order.step is Step.ABORT and "wanted" in data:
            self._switch(order, data["instead"], "the one before has ended: go on instead")
        else:
            self._move(order, {})

    def _switch(self, order: Order, wanted: Mapping[str, str], otherwise: str) -> None:
        leaf = _decode(wanted)
        if not self._server.usable(leaf, self._now, timedelta(0)):
            raise RotationRefused("wrong_phase", f"the certificate cannot be used: {otherwise}")
        self._move(order, {"wanted": dict(wanted), "instead": _encode(self._server.serving())})
        self._server.present(leaf)

    def recover(self) -> None:
        data = self.progress.data
        if "wanted" not in data:
            return
        leaf = _decode(data["wanted"])
        # Neither of the two: it was renewed since then, or made anew by this start.
        untouched = self._server.serving().chain == _decode(data["instead"]).chain
        if untouched and self._server.usable(leaf, self._now, timedelta(0)):
            self._server.present(leaf)

    def _detail(self, _holders: list[str]) -> dict[str, Any]:
        try:
            told = inspect(self._server.serving().chain)
        except OSError:
            return {}
        return {"serial": told.serial, "notAfter": rfc3339(told.not_after.timestamp())}


def _encode(leaf: ServerLeaf) -> dict[str, str]:
    return {"key": leaf.key.decode(), "certificate": leaf.certificate.decode(), "chain": leaf.chain.decode()}


def _decode(told: Mapping[str, str]) -> ServerLeaf:
    return ServerLeaf(*(told[name].encode() for name in ("key", "certificate", "chain")))
