"""What every rotating item has in common: its state, the steps it takes, and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


class Item(StrEnum):
    """What can be rotated."""

    ROOT = "Root"
    INTERMEDIATE = "Intermediate"
    SERVER_CERTIFICATE = "ServerCertificate"
    DEVICE_KEY = "DeviceKey"
    SIGN_KEY = "SignKey"


class Step(StrEnum):
    """What can be ordered. Not every item knows every step; `ITEM.steps` says which, in their order.

    Prepare: the new thing exists on disk and nothing uses it. CrossSign: both roots are signed by one another and
    served. Canary: named devices get the new thing. Roll: everybody gets it, paced. Observe: nothing new is issued
    from the old. Retire: the old one is accepted no more. Abort: back to the old one, possible before Retire.
    """

    PREPARE = "Prepare"
    CROSS_SIGN = "CrossSign"
    CANARY = "Canary"
    ROLL = "Roll"
    OBSERVE = "Observe"
    RETIRE = "Retire"
    ABORT = "Abort"


IDLE = "Idle"
PHASE_AFTER: Mapping[Step, str] = {
    Step.PREPARE: "Prepared",
    Step.CROSS_SIGN: "CrossSigned",
    Step.CANARY: "Canary",
    Step.ROLL: "Rolling",
    Step.OBSERVE: "Observing",
    Step.RETIRE: IDLE,
    Step.ABORT: IDLE,
}


@dataclass(frozen=True, slots=True)
class RotationState:
    """Where an item is. `generation` is in use, `target` (None: no rotation runs) comes. `phase` is `Idle` or the
    one after the newest step. `done` of `total` devices have the new thing. `since` is epoch seconds. `detail` are
    facts of the item for people and for the engine (fingerprints, ends, names of devices that hold the old one).
    """

    item: Item
    generation: int
    target: int | None = None
    phase: str = IDLE
    done: int = 0
    total: int = 0
    since: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Order:
    """One step. `canary`: UIDs that go first. `devices_per_minute` paces Roll (None: the item's own default).
    `acknowledged`: the exact thing that is given up (Retire of something that devices still need).
    `material`: PEM texts that come from outside by name (certificates of a sealed root; never a root's key).
    """

    step: Step
    to_generation: int
    canary: tuple[str, ...] = ()
    devices_per_minute: float | None = None
    acknowledged: str | None = None
    material: Mapping[str, str] = field(default_factory=dict, repr=False)


class RotationRefused(Exception):
    """A step that is not taken; nothing was changed. `symbol`: `generation_gap`, `wrong_phase`, `backup_required`,
    `root_sealed`, `canary_lost`, `sessions_open`, `still_needed`, `invalid_config`, `not_supported`.
    """

    def __init__(self, symbol: str, message: str) -> None:
        super().__init__(message)
        self.symbol = symbol
        self.message = message


class Rotating(Protocol):
    """One item. Steps are whole: after `kill -9` at any write the state is the one before or the one after, and
    the same order may simply be given again. An order that was carried out already answers the present state.
    """

    item: Item
    steps: tuple[Step, ...]

    def state(self) -> RotationState:
        """Where it is now; cheap."""
        ...

    async def take(self, order: Order) -> RotationState:
        """Carry out one step. Raises RotationRefused, then nothing is changed."""
        ...


def due(state: RotationState, order: Order, steps: tuple[Step, ...]) -> bool:
    """Whether the order is the next step (True) or was carried out already (False). Raises RotationRefused when it
    is neither: an unknown step, a generation that is not the next one, a step out of order.
    """
    if order.step not in steps:
        raise RotationRefused("not_supported", f"{state.item} knows {', '.join(steps)}, not {order.step}")
    if order.to_generation == state.generation and state.target is None and order.step is not Step.ABORT:
        return False
    if order.step is Step.ABORT and state.target is None:
        return False
    expected = state.target if state.target is not None else state.generation + 1
    if order.to_generation != expected:
        raise RotationRefused(
            "generation_gap", f"{state.item} has generation {state.generation}; the next one is {expected}"
        )
    return order.step is Step.ABORT or _next(state, order.step, steps)


def _next(state: RotationState, step: Step, steps: tuple[Step, ...]) -> bool:
    path: list[Step] = [each for each in steps if each is not Step.ABORT]
    taken = [PHASE_AFTER[each] for each in path].index(state.phase) if state.phase != IDLE else -1
    wanted = path.index(step)
    if wanted <= taken:
        return False
    if wanted > taken + 1:
        raise RotationRefused(
            "wrong_phase", f"{state.item} is {state.phase}; next is {path[taken + 1]}, not {step}"
        )
    return True
