"""Rotations over the management interface: the list, steps, refusals that name what is wrong."""

from typing import Any

import pytest


async def test_an_item_is_listed_and_taken_forward(manage: Any) -> None:
    await manage.take()
    listed = await manage("GET", "/rotations")
    assert [(row["item"], row["generation"], row["phase"]) for row in listed.body["items"]] == [
        ("DeviceKey", 1, "Idle")
    ]
    order = {"step": "Prepare", "toGeneration": 2}
    first = await manage("POST", "/rotations/DeviceKey", order)
    again = await manage("POST", "/rotations/DeviceKey", order)
    assert (first.status, first.body["phase"], first.body["target"]) == (200, "Prepared", 2)
    assert again.body == first.body


async def test_a_step_out_of_order_is_refused_with_what_would_be_next(manage: Any) -> None:
    await manage.take()
    answer = await manage("POST", "/rotations/DeviceKey", {"step": "Retire", "toGeneration": 2})
    assert (answer.status, answer.symbol) == (409, "wrong_phase")
    assert "Prepare" in answer.body["error"]["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"toGeneration": 2}, "step"),
        ({"step": "Leap", "toGeneration": 2}, "step"),
        ({"step": "Prepare"}, "toGeneration"),
        ({"step": "Prepare", "toGeneration": 0}, "toGeneration"),
        ({"step": "Prepare", "toGeneration": True}, "toGeneration"),
        ({"step": "Prepare", "toGeneration": 2, "devicesPerMinute": 0}, "devicesPerMinute"),
        ({"step": "Prepare", "toGeneration": 2, "canary": ["x"]}, "canary[0]"),
        ({"step": "Prepare", "toGeneration": 2, "material": {"a": 1}}, "material.a"),
        ({"step": "Prepare", "toGeneration": 2, "acknowledged": 1}, "acknowledged"),
        ({"step": "Prepare", "toGeneration": 2, "other": 1}, "other"),
    ],
)
async def test_a_bad_order_names_its_member(manage: Any, body: dict[str, Any], field: str) -> None:
    await manage.take()
    answer = await manage("POST", "/rotations/DeviceKey", body)
    assert (answer.status, answer.body["error"]["field"]) == (422, field)


async def test_an_unknown_item_is_answered_with_the_known_ones(manage: Any) -> None:
    await manage.take()
    answer = await manage("POST", "/rotations/Hinge", {"step": "Prepare", "toGeneration": 2})
    assert (answer.status, answer.symbol) == (404, "item_unknown")
    assert "DeviceKey" in answer.body["error"]["message"]
