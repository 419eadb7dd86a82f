"""Full garbage collections do not come while cameras come back in numbers."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from rop_server.garbage import LONGEST, MANY, FullCollections


@pytest.fixture
def collections() -> Iterator[FullCollections]:
    made = FullCollections()
    yield made
    made.close()


def grow() -> int:
    """More objects than any rule of the interpreter lets pass; how many full collections that made."""
    before = gc.get_stats()[2]["collections"]
    kept = [[number] for number in range(400_000)]
    assert len(kept) == 400_000
    return gc.get_stats()[2]["collections"] - before


def test_none_comes_in_a_rush_and_one_after_it(collections: FullCollections) -> None:
    assert grow() > 0
    collections.tick(MANY + 1)
    assert grow() == 0
    collections.tick(2 * MANY + 1)
    assert grow() > 0


def test_a_rush_without_an_end_is_no_reason_for_ever(collections: FullCollections) -> None:
    held = []
    for second in range(1, LONGEST + 3):
        collections.tick(second * (MANY + 1))
        held.append(collections.held)
    assert held == [True] * LONGEST + [False, True]


def test_the_interpreter_is_left_as_it_was() -> None:
    before = gc.get_threshold()
    made = FullCollections()
    made.tick(MANY + 1)
    assert gc.get_threshold() != before
    made.close()
    assert gc.get_threshold() == before
