"""What the items in rotation.json share: their state, the guard of a step, the write that makes it so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rop_data.config import ConfigError
from rop_data.rotations import IDLE, Progress, RotationFile
from rop_server.rotation.item import PHASE_AFTER, Item, Order, RotationRefused, RotationState, Step, due

_MOVING = (PHASE_AFTER[Step.CANARY], PHASE_AFTER[Step.ROLL], PHASE_AFTER[Step.OBSERVE])
Put = Callable[[Mapping[str, Any]], None]
"""Writes members of config.json and puts them in force, whole. Raises ConfigError, then nothing is changed."""


Note = Callable[[str, dict[str, Any]], None]


class KeptItem(ABC):
    """An item whose progress is in rotation.json. `clock` is epoch seconds; `note` hears of each step.

    A step first writes there what is wanted and then makes it so; `recover` does the latter again after a crash.
    """

    item: Item
    steps: tuple[Step, ...] = (Step.PREPARE, Step.ROLL, Step.RETIRE, Step.ABORT)

    def __init__(self, file: RotationFile, clock: Callable[[], float], note: Note) -> None:
        self._file = file
        self._clock = clock
        self._note = note

    @property
    def progress(self) -> Progress:
        """Where it is, secrets included."""
        return self._file.get(self.item)

    def state(self) -> RotationState:
        """Where it is, for the engine and for people."""
        now = self.progress
        holders, total = self._holders()
        done = total - len(holders) if now.phase in _MOVING else 0
        return RotationState(
            *(self.item, now.generation, now.target, now.phase, done),
            total=total if now.target is not None else 0,
            since=now.since,
            detail=self._detail(holders),
        )

    async def take(self, order: Order) -> RotationState:
        """One step; see `Rotating`. Nothing else happens in between: steps do not wait."""
        self._try(self.recover)
        if due(self.state(), order, self.steps):
            if order.step is Step.RETIRE:
                self._check_holders(order)
            self._try(lambda: self._take(order))
            data = {"item": self.item, "step": order.step, "toGeneration": order.to_generation}
            self._note("rotation.step", data)
        return self.state()

    def _try(self, change: Callable[[], None]) -> None:
        """What cannot be carried out is taken back, and refused; what cannot even be taken back is finished first
        with the next order.
        """
        before = self.progress
        try:
            change()
        except (ConfigError, OSError) as error:
            if self.progress != before:
                self._file.put(self.item, before)
            raise RotationRefused("invalid_config", str(error)) from None

    def _check_holders(self, order: Order) -> None:
        holders, _ = self._holders()
        given_up = f"{self.item}:{self.progress.generation}"
        if holders and order.acknowledged != given_up:
            raise RotationRefused(
                "still_needed", f"{len(holders)} devices hold generation {self.progress.generation} only"
            )

    def _move(self, order: Order, data: Mapping[str, Any]) -> None:
        """Write down that the order is carried out, with this data."""
        now, phase = self.progress, PHASE_AFTER[order.step]
        arrived = order.step is Step.RETIRE
        generation = order.to_generation if arrived else now.generation
        target = None if phase == IDLE else order.to_generation
        self._file.put(self.item, Progress(generation, target, phase, self._clock(), data))

    def _keep(self, **data: Any) -> None:
        """Change data beside the steps."""
        self._file.put(self.item, replace(self.progress, data={**self.progress.data, **data}))

    @abstractmethod
    def _take(self, order: Order) -> None:
        """Carry out a step that is due."""

    @abstractmethod
    def recover(self) -> None:
        """Finish what a crash left; does nothing otherwise."""

    def _holders(self) -> tuple[list[str], int]:
        """UIDs that hold only the old thing, and how many devices count."""
        return [], 0

    def _detail(self, _holders: list[str]) -> Mapping[str, Any]:
        return {}
