"""The L2 CA: a new one under the same root. Cameras pin the root alone, so that both are accepted at once.

Certificates of the old one stay good until no living device holds one; then they are refused, whoever shows them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from rop_data.config import ConfigError
from rop_data.rotations import RotationFile
from rop_pki import PkiError
from rop_server.rotation.census import living, named
from rop_server.rotation.item import Item, Order, RotationRefused, RotationState, Step, due
from rop_server.rotation.kept import KeptItem, Note
from rop_server.state.book import FactsBook


class Issuing(Protocol):
    """The L2 CA of a running server, and another one beside it. Key ids are lower-case hex."""

    @property
    def root_key_present(self) -> bool:
        """Whether the root's key is here."""
        ...

    @property
    def issuer(self) -> str:
        """Key id of the one in use."""
        ...

    def other_issuer(self) -> str | None:
        """Key id of the other one."""
        ...

    def make_issuer(self, generation: int, now: datetime) -> str:
        """A new one beside the one in use; its key id. Blocks. Raises PkiError and ConfigError."""
        ...

    def exchange_issuers(self, now: datetime) -> None:
        """The other one comes into use, with a server certificate of its own, presented at once."""
        ...

    def put_issuer_away(self) -> None:
        """The other one gets a name of its own; its key is kept."""
        ...

    def refuse_issuers(self, item: str, key_ids: frozenset[str]) -> None:
        """What this item refuses: certificates of these are accepted no more; connections that showed one end."""
        ...


class IntermediateRotation(KeptItem):
    """`data`: `new` is to come or came, `old` was before; `wanted` is the one to be in use; `others` issued for
    devices and are still accepted, `retired` are refused.
    """

    item = Item.INTERMEDIATE
    steps = (Step.PREPARE, Step.ROLL, Step.OBSERVE, Step.RETIRE, Step.ABORT)

    def __init__(
        self, file: RotationFile, book: FactsBook, server: Issuing, clock: Callable[[], float], note: Note
    ) -> None:
        super().__init__(file, clock, note)
        self._book, self._server = book, server
        self._making = asyncio.Lock()
        self._made = ""

    @property
    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    async def take(self, order: Order) -> RotationState:
        if order.step is not Step.PREPARE:
            return await super().take(order)
        async with self._making:
            if due(self.state(), order, self.steps):
                await self._make(order)
            return await super().take(order)

    async def _make(self, order: Order) -> None:
        """Sign in another process and thread; connections go on meanwhile."""
        if self._file.get(Item.ROOT).target is not None:
            raise RotationRefused(
                "wrong_phase", "the root is being replaced, and its L2 CA with it; wait for that"
            )
        if not self._server.root_key_present:
            raise RotationRefused("root_sealed", "the root's key is not on this server, and must sign the L2 CA")
        try:
            self._made = await asyncio.to_thread(self._server.make_issuer, order.to_generation, self._now)
        except (PkiError, ConfigError, OSError) as error:
            raise RotationRefused("invalid_config", str(error)) from None

    def _take(self, order: Order) -> None:
        data = self.progress.data
        others, retired = list(data.get("others", ())), list(data.get("retired", ()))
        kept: dict[str, Any] = {"others": others, "retired": retired}
        if order.step is Step.PREPARE:
            self._move(order, {**kept, "new": self._made})
        elif order.step is Step.ROLL:
            old, new = self._server.issuer, data["new"]
            self._move(order, {**kept, "new": new, "old": old, "wanted": new})
            self._make_so()
        elif order.step is Step.OBSERVE:  # nothing was issued by the old one since Roll
            self._move(order, data)
        elif order.step is Step.RETIRE:
            self._move(order, {"others": [], "retired": [*retired, *others, data["old"]]})
            self._server.refuse_issuers(self.item, frozenset(self.progress.data["retired"]))
            self._server.put_issuer_away()
        elif "old" in data:
            self._move(order, {"others": [*others, data["new"]], "retired": retired, "wanted": data["old"]})
            self._make_so()
        else:
            self._move(order, kept)

    def _make_so(self) -> None:
        wanted = self.progress.data.get("wanted")
        if wanted is not None and self._server.issuer != wanted == self._server.other_issuer():
            self._server.exchange_issuers(self._now)

    def recover(self) -> None:
        self._make_so()
        self._server.refuse_issuers(self.item, frozenset(self.progress.data.get("retired", ())))

    def _holders(self) -> tuple[list[str], int]:
        """A certificate that we did not issue is of the old one: its issuer was not told."""
        found = [(r.uid, r.certificate.issuer) for r in living(self._book, self._clock()) if r.certificate]
        present = self._server.issuer
        return [uid for uid, issuer in found if issuer != present], len(found)

    def _detail(self, holders: list[str]) -> Mapping[str, Any]:
        return {"keyID": self._server.issuer, **named(holders)}
