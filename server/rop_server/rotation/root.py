"""The root CA: a new one, signed by the old one, so that cameras that pin the old one go on.

Nothing on the wire changes the root that a camera pins. So the server presents its certificate, the new L2 CA and
the new root as signed by the old one: who pins either of the two accepts that. Both sign one another, so that the
way back serves cameras that pin the new one. The old root is retired as an anchor of cameras' certificates; its
signature of the new one stays in the chain, until it is acknowledged that the cameras that pin it go dark.

Canaries meet the new chain before the others do. Before a handshake only an address is known: whoever comes from
where a canary was last meets it too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from rop_data.config import ConfigError
from rop_data.rotations import RotationFile
from rop_pki import PkiError
from rop_server.rotation.census import NAMED, living, named
from rop_server.rotation.item import PHASE_AFTER, Item, Order, RotationRefused, RotationState, Step, due
from rop_server.rotation.kept import KeptItem, Note
from rop_server.state.book import FactsBook
from rop_server.state.journal import Event
from rop_server.state.record import Certificate

_SLOW = (Step.PREPARE, Step.CROSS_SIGN)
# Phases in which devices may have certificates of the new root.
_GIVEN = tuple(PHASE_AFTER[step] for step in (Step.CANARY, Step.ROLL, Step.OBSERVE))


class Rooting(Protocol):
    """The hierarchy (root and L2 CA) of a running server, and another one beside it.

    Roots are named by their fingerprints, L2 CAs by their key ids: lower-case hex.
    """

    @property
    def root_key_present(self) -> bool:
        """Whether the key of the root in use is here."""
        ...

    @property
    def root(self) -> str:
        """The root in use."""
        ...

    @property
    def issuer(self) -> str:
        """Its L2 CA."""
        ...

    def root_text(self) -> str:
        """Certificate of the root in use, PEM."""
        ...

    def other_root(self) -> str | None:
        """The other root."""
        ...

    def other_root_text(self) -> str:
        """Its certificate, PEM."""
        ...

    def make_root(self, generation: int, now: datetime) -> tuple[str, str]:
        """A new hierarchy beside the one in use: root, L2 CA. Blocks. Raises PkiError, ConfigError, OSError."""
        ...

    def cross_sign(self) -> str:
        """Both roots by one another; the one in use as signed by the new one, PEM. Blocks. Raises as above."""
        ...

    def trust_roots(self, anchors: Sequence[str]) -> None:
        """Accept certificates of devices under these roots (PEM) and the one in use, and under no others."""
        ...

    def try_root(self, uids: Sequence[str], now: datetime) -> None:
        """These devices get certificates of the other hierarchy, and meet it where they come from."""
        ...

    def end_trial(self) -> None:
        """No device meets the other hierarchy any more."""
        ...

    def exchange_roots(self, now: datetime) -> None:
        """The other hierarchy comes into use: it is presented, and new devices are told its root."""
        ...

    def lead_back(self, back: str) -> None:
        """Keep the other root as signed by the one in use (PEM), for the day that it is used again."""
        ...

    def put_root_away(self, keep_crosses: bool) -> None:
        """The other hierarchy gets a name of its own. `keep_crosses`: who pins its root is served on."""
        ...

    def refuse_issuers(self, item: str, key_ids: frozenset[str]) -> None:
        """What this item refuses: certificates of these are accepted no more; connections that showed one end."""
        ...


class RootRotation(KeptItem):
    """`data`: `new` and `old` are roots, `newIssuer` and `oldIssuer` their L2 CAs, `back` the old root as signed
    by the new one; `wanted` is the root to be in use; `canary` are UIDs. `anchors` are the roots (PEM) that are
    accepted, `others` L2 CAs of rotations that were aborted, `retired` those that are refused; `left` is a root to
    put away, with what served those who pin it when they go `dark`.

    `drain` opens no set-up session for a while and tells the seconds until the last open one ends: each names the
    root of its time, which 61000 must still serve then. `reconnect` ends the connections of a device.
    """

    item = Item.ROOT
    steps = (
        Step.PREPARE,
        Step.CROSS_SIGN,
        Step.CANARY,
        Step.ROLL,
        Step.OBSERVE,
        Step.RETIRE,
        Step.ABORT,
    )

    def __init__(
        self,
        file: RotationFile,
        book: FactsBook,
        server: Rooting,
        drain: Callable[[], float],
        reconnect: Callable[[str], None],
        clock: Callable[[], float],
        note: Note,
    ) -> None:
        super().__init__(file, clock, note)
        self._book, self._server = book, server
        self._drain, self._reconnect = drain, reconnect
        self._making = asyncio.Lock()
        self._made: Any = None
        book.subscribe(self._heard)

    @property
    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    async def take(self, order: Order) -> RotationState:
        if order.step not in _SLOW:
            return await super().take(order)
        async with self._making:
            if due(self.state(), order, self.steps):
                await self._make(order)
            return await super().take(order)

    async def _make(self, order: Order) -> None:
        """Sign in other processes and a thread; connections go on meanwhile."""
        if self._file.get(Item.INTERMEDIATE).target is not None:
            raise RotationRefused("wrong_phase", "the L2 CA is being replaced; end that first, or abort it")
        if not self._server.root_key_present:
            raise RotationRefused(
                "root_sealed", "the key of the root in use is not here, and must sign the new one"
            )
        try:
            if order.step is Step.PREPARE:
                self._made = await asyncio.to_thread(self._server.make_root, order.to_generation, self._now)
            else:
                self._made = await asyncio.to_thread(self._server.cross_sign)
        except (PkiError, ConfigError, OSError) as error:
            raise RotationRefused("invalid_config", str(error)) from None

    def _take(self, order: Order) -> None:
        data = dict(self.progress.data)
        if order.step is Step.PREPARE:
            data = self._prepared(data)
        elif order.step is Step.CROSS_SIGN:
            roots = (self._server.root_text(), self._server.other_root_text())
            data |= {"back": self._made, "anchors": [*dict.fromkeys((*data["anchors"], *roots))]}
        elif order.step is Step.CANARY:
            data["canary"] = list(order.canary)
        elif order.step is Step.ROLL:
            self._check_canaries()
            self._check_sessions()
            data["wanted"] = data["new"]
        elif order.step is Step.RETIRE:
            data = self._retired(data, dark=order.acknowledged == data["old"])
        elif order.step is Step.ABORT:
            data = self._aborted(data)
        self._move(order, data)
        self._make_so()

    def _prepared(self, data: Mapping[str, Any]) -> dict[str, Any]:
        new, issuer = self._made
        lasting = {name: list(data.get(name, ())) for name in ("anchors", "others", "retired")}
        names = {"new": new, "newIssuer": issuer, "old": self._server.root, "oldIssuer": self._server.issuer}
        return {**lasting, **names}

    def _retired(self, data: Mapping[str, Any], dark: bool) -> dict[str, Any]:
        refused = [*data["retired"], *data["others"], data["oldIssuer"]]
        kept = {"anchors": [self._server.root_text()], "others": [], "retired": refused}
        return {**kept, "wanted": data["new"], "left": data["old"], "dark": dark}

    def _aborted(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Devices that have the new thing go on: it stays accepted until the next rotation ends."""
        kept = {name: list(data[name]) for name in ("anchors", "others", "retired")}
        if self.progress.phase in _GIVEN:
            kept["others"].append(data["newIssuer"])
        else:
            kept["anchors"] = [root for root in kept["anchors"] if root != self._server.other_root_text()]
        if "wanted" not in data:
            return kept
        self._check_sessions()
        return {**kept, "wanted": data["old"]}

    def _check_canaries(self) -> None:
        holders, _ = self._holders()
        if self.progress.phase == PHASE_AFTER[Step.CANARY] and holders:
            names = ", ".join(holders)
            raise RotationRefused("canary_lost", f"not back yet with a certificate of the new root: {names}")

    def _check_sessions(self) -> None:
        seconds = self._drain()
        if seconds > 0:
            raise RotationRefused(
                "sessions_open",
                f"set-up sessions that name the present root end in {seconds:.0f} s; until then none begins",
            )

    def _check_holders(self, order: Order) -> None:
        holders, _ = self._holders()
        old = self.progress.data["old"]
        if holders and order.acknowledged != old:
            raise RotationRefused("still_needed", f"{len(holders)} devices hold certificates of the root {old}")

    def _make_so(self) -> None:
        """What rotation.json says; does nothing when it is so."""
        data, server = self.progress.data, self._server
        server.trust_roots(data.get("anchors", ()))
        server.refuse_issuers(self.item, frozenset(data.get("retired", ())))
        if self.progress.phase == PHASE_AFTER[Step.CANARY]:
            server.try_root(data["canary"], self._now)
        else:
            server.end_trial()
        wanted = data.get("wanted")
        if wanted is not None and server.root != wanted == server.other_root():
            server.exchange_roots(self._now)
        if "back" in data and wanted == data.get("new"):
            server.lead_back(data["back"])
        if "left" in data and server.other_root() == data["left"]:
            server.put_root_away(keep_crosses=not data["dark"])

    def recover(self) -> None:
        self._make_so()

    def _holders(self) -> tuple[list[str], int]:
        """A certificate that we did not issue is of the old root: its issuer was not told."""
        data = self.progress.data
        if self.progress.phase == PHASE_AFTER[Step.CANARY]:
            return [uid for uid in data["canary"] if not self._back(uid)], len(data["canary"])
        present = data.get("newIssuer", self._server.issuer)
        found = [(r.uid, r.certificate.issuer) for r in living(self._book, self._clock()) if r.certificate]
        return [uid for uid, issuer in found if issuer != present], len(found)

    def _renewed(self, uid: str) -> Certificate | None:
        """The canary's certificate, when it is of the new root."""
        record = self._book.record(uid)
        known = record.certificate if record is not None else None
        return known if known is not None and known.issuer == self.progress.data["newIssuer"] else None

    def _back(self, uid: str) -> bool:
        """It registered and connected after its renewal, over the new chain."""
        record, known = self._book.record(uid), self._renewed(uid)
        if record is None or known is None or known.issued_at is None:
            return False
        return all((at or 0.0) >= known.issued_at for at in (record.registered_at, record.connected_at))

    def _heard(self, event: Event) -> None:
        """A camera that renewed registers and keeps its connection: a canary must show that it can come back."""
        uid = event.uid or ""
        canaries = self.progress.data.get("canary", ()) if self.progress.phase == PHASE_AFTER[Step.CANARY] else ()
        if event.type == "device.registered" and uid in canaries and self._renewed(uid) and not self._back(uid):
            self._reconnect(uid)

    def _detail(self, holders: list[str]) -> Mapping[str, Any]:
        data = self.progress.data
        if self.progress.target is None:
            return {"rootSHA256": self._server.root}
        pinned = [r.uid for r in living(self._book, self._clock()) if r.pinned_root == data["old"]]
        told = {"rootSHA256": self._server.root, "oldRootSHA256": data["old"], "newRootSHA256": data["new"]}
        return {**told, **named(holders), "pinOldRoot": len(pinned), "pinOldRootNamed": sorted(pinned)[:NAMED]}
