"""Which orders an item takes: the next step, one it took already, or none."""

import pytest

from rop_server.rotation.item import Item, Order, RotationRefused, RotationState, Step, due

STEPS = (Step.PREPARE, Step.ROLL, Step.RETIRE, Step.ABORT)


def state(phase: str = "Idle", target: int | None = None) -> RotationState:
    return RotationState(Item.DEVICE_KEY, 3, target, phase)


@pytest.mark.parametrize(
    ("now", "step", "generation", "expected"),
    [
        (state(), Step.PREPARE, 4, True),
        (state("Prepared", 4), Step.PREPARE, 4, False),
        (state("Prepared", 4), Step.ROLL, 4, True),
        (state("Rolling", 4), Step.PREPARE, 4, False),
        (state("Rolling", 4), Step.RETIRE, 4, True),
        (state("Rolling", 4), Step.ABORT, 4, True),
        (state(), Step.ABORT, 4, False),
        (state(), Step.RETIRE, 3, False),
        (state(), Step.PREPARE, 3, False),
    ],
)
def test_an_order_is_the_next_step_or_was_taken(now, step, generation, expected):
    assert due(now, Order(step, generation), STEPS) is expected


@pytest.mark.parametrize(
    ("now", "step", "generation", "symbol"),
    [
        (state(), Step.PREPARE, 5, "generation_gap"),
        (state(), Step.PREPARE, 2, "generation_gap"),
        (state("Prepared", 4), Step.ROLL, 5, "generation_gap"),
        (state("Prepared", 4), Step.RETIRE, 4, "wrong_phase"),
        (state(), Step.ROLL, 4, "wrong_phase"),
        (state(), Step.CROSS_SIGN, 4, "not_supported"),
    ],
)
def test_other_orders_are_refused(now, step, generation, symbol):
    with pytest.raises(RotationRefused) as refused:
        due(now, Order(step, generation), STEPS)
    assert refused.value.symbol == symbol
