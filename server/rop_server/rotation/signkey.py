"""The signKey: codes by the old one are accepted until every living device was given one by the new one.

Source: ROP v1.0 wire specification, pki-and-config 4. A device is given its long-term code with each certificate,
so which key signed its code follows from the number of its newest certificate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rop_data.config import Config, random_text
from rop_data.rotations import RotationFile
from rop_server.rotation.census import living, named
from rop_server.rotation.item import Item, Order, Step
from rop_server.rotation.kept import KeptItem, Note, Put
from rop_server.state.book import FactsBook

MEMBER = "authCode.signKey"
LENGTH = 32


class SignKeyRotation(KeptItem):
    """`data`: `next` is the key to come; `epochs` are the keys in the order of their use, each with the number of
    the newest certificate at its beginning. A key that is in `epochs` is accepted. `retired` are those of before.
    """

    item = Item.SIGN_KEY

    def __init__(
        self,
        file: RotationFile,
        book: FactsBook,
        config: Callable[[], Config],
        put: Put,
        clock: Callable[[], float],
        note: Note,
    ) -> None:
        super().__init__(file, clock, note)
        self._book, self._config, self._put = book, config, put

    @property
    def _epochs(self) -> list[dict[str, Any]]:
        """With the key of config.json last. One that somebody wrote there by hand is the only one."""
        epochs = list(self.progress.data.get("epochs", ()))
        current = self._config().sign_key
        return epochs if epochs and epochs[-1]["key"] == current else [{"key": current, "mark": 0}]

    def _take(self, order: Order) -> None:
        epochs, following, retired = self._epochs, self.progress.data.get("next"), self._retired
        if order.step is Step.PREPARE:
            self._move(order, {"retired": retired, "epochs": epochs, "next": random_text(LENGTH)})
        elif order.step is Step.ROLL:
            self._begin(order, epochs, following)
        elif order.step is Step.RETIRE:
            gone = [epoch["key"] for epoch in epochs if epoch["key"] not in (epochs[-1]["key"], *retired)]
            self._move(order, {"retired": [*retired, *dict.fromkeys(gone)], "epochs": epochs[-1:]})
            self._put({})
        elif len(epochs) > 1 and self.progress.phase != "Prepared":
            self._begin(order, epochs, epochs[-2]["key"])
        else:
            self._move(order, {"retired": retired, "epochs": epochs})

    @property
    def _retired(self) -> list[str]:
        return list(self.progress.data.get("retired", ()))

    def _begin(self, order: Order, epochs: list[dict[str, Any]], key: str | None) -> None:
        epochs = [*epochs, {"key": key, "mark": self._book.newest_certificate()}]
        self._move(order, {"retired": self._retired, "epochs": epochs})
        self._put({MEMBER: key})

    def recover(self) -> None:
        epochs = self.progress.data.get("epochs", ())
        current = self._config().sign_key
        if epochs and current != epochs[-1]["key"] and current in [epoch["key"] for epoch in epochs]:
            self._put({MEMBER: epochs[-1]["key"]})

    def _holders(self) -> tuple[list[str], int]:
        epochs = self.progress.data.get("epochs", ())
        counted = [record.uid for record in living(self._book, self._clock())]
        renewed = self._book.certified_since(epochs[-1]["mark"]) if len(epochs) > 1 else set(counted)
        return [uid for uid in counted if uid not in renewed], len(counted)

    def _detail(self, holders: list[str]) -> dict[str, Any]:
        return named(holders)
