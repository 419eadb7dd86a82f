"""The device key of 61003 and 61007: the index moves the fleet in turns, the old key stays known for latecomers.

Source: ROP v1.0 wire specification, device-protocol 6.3, pki-and-config 5. While a rotation runs both keys are in
config.json, so that the vendor's server could go on with it; afterwards the old one is only here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rop_data.config import Config, random_text
from rop_data.rotations import RotationFile
from rop_server.core.key_turns import KeyTurns
from rop_server.rotation.census import living, named
from rop_server.rotation.item import Item, Order, Step
from rop_server.rotation.kept import KeptItem, Note, Put
from rop_server.state.book import FactsBook

KEYS, CURRENT = "deviceAuth.deviceKeys", "deviceAuth.currentKeyIndex"
INDEX_LENGTH, KEY_LENGTH = 16, 32
MINUTE = 60.0


class DeviceKeyRotation(KeptItem):
    """`data`: `keys` are `{index: key}` as they are wanted in config.json and `current` the index, `before` the
    index to go back to, `retired` keys out of use by index, `perMinute` the pace (None: the usual one).
    """

    item = Item.DEVICE_KEY

    def __init__(
        self,
        file: RotationFile,
        book: FactsBook,
        config: Callable[[], Config],
        put: Put,
        turns: KeyTurns,
        clock: Callable[[], float],
        note: Note,
    ) -> None:
        super().__init__(file, clock, note)
        self._book, self._config, self._put, self._turns = book, config, put, turns

    def _take(self, order: Order) -> None:
        data, config = self.progress.data, self._config()
        retired, current = dict(data.get("retired", {})), config.current_key_index
        if order.step is Step.ABORT and "before" not in data:
            self._move(order, {"retired": retired})
            return
        if order.step is Step.PREPARE:
            following = {random_text(INDEX_LENGTH): random_text(KEY_LENGTH)}
            self._move(order, {"retired": retired, "next": following})
            return
        if order.step is Step.ROLL:
            (following,) = data["next"]
            wanted = {
                "keys": {**config.device_keys, **data["next"]},
                "current": following,
                "before": current,
                "perMinute": order.devices_per_minute,
            }
        else:
            current = current if order.step is Step.RETIRE else data["before"]
            retired |= {index: key for index, key in config.device_keys.items() if index != current}
            wanted = {"keys": {current: config.device_keys[current]}, "current": current}
        self._move(order, {"retired": retired, **wanted})
        self._make_so()

    def _make_so(self) -> None:
        data = self.progress.data
        per_minute = data.get("perMinute")
        self._turns.pace(None if per_minute is None else per_minute / MINUTE)
        self._put({KEYS: data["keys"], CURRENT: data["current"]})

    def recover(self) -> None:
        data, keys = self.progress.data, self._config().device_keys
        # A key that somebody wrote there by hand since then is theirs.
        if "keys" in data and keys.items() <= {**data["retired"], **data["keys"]}.items():
            self._make_so()

    def _holders(self) -> tuple[list[str], int]:
        """Only devices that showed an index need one."""
        current = self._config().current_key_index
        shown = [record for record in living(self._book, self._clock()) if record.key_index is not None]
        return [record.uid for record in shown if record.key_index != current], len(shown)

    def _detail(self, holders: list[str]) -> dict[str, Any]:
        return named(holders)
