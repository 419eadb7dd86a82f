"""The operations on rotations: where each item is, and one step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from rop_server.manage.body import read_object, uids_of, word_of
from rop_server.manage.errors import ManageError, invalid
from rop_server.manage.handlers import reply
from rop_server.rotation.item import Item, Order, Rotating, RotationRefused, RotationState, Step
from rop_server.state.record import rfc3339

MEMBERS = ("step", "toGeneration", "canary", "devicesPerMinute", "acknowledged", "material")
MAX_MATERIAL = 64 * 1024


class RotationOperations:
    """Rotating items by name."""

    def __init__(self, items: Mapping[Item, Rotating]) -> None:
        self._items = items

    async def list_rotations(self, _request: web.Request) -> web.Response:
        """Every item."""
        return reply({"items": [document(each.state()) for each in self._items.values()]})

    async def take_rotation_step(self, request: web.Request) -> web.Response:
        """One step of one item."""
        name = request.match_info["item"]
        found = next((each for item, each in self._items.items() if item == name), None)
        if found is None:
            known = ", ".join(self._items)
            raise ManageError(404, "item_unknown", f"nothing called {name} rotates; known are {known}")
        order = order_of(await read_object(request, *MEMBERS))
        try:
            return reply(document(await found.take(order)))
        except RotationRefused as refusal:
            raise ManageError(409, refusal.symbol, refusal.message) from None


def document(state: RotationState) -> dict[str, Any]:
    """A state as JSON."""
    return {
        "item": state.item.value,
        "generation": state.generation,
        "target": state.target,
        "phase": state.phase,
        "done": state.done,
        "total": state.total,
        "since": None if state.since is None else rfc3339(state.since),
        "detail": dict(state.detail),
    }


def order_of(body: Mapping[str, Any]) -> Order:
    """The order of a body. Raises ManageError naming the member."""
    step = Step(word_of(body.get("step"), "step", *Step))
    generation, pace = body.get("toGeneration"), body.get("devicesPerMinute")
    if type(generation) is not int or generation < 1:
        raise invalid("toGeneration", "must be a whole number from 1")
    if pace is not None and (type(pace) not in (int, float) or not 0 < pace <= 1_000_000):
        raise invalid("devicesPerMinute", "must be a number above 0")
    acknowledged = body.get("acknowledged")
    if acknowledged is not None and not isinstance(acknowledged, str):
        raise invalid("acknowledged", "must be text")
    canary = tuple(uids_of(body.get("canary", []), "canary"))
    return Order(step, generation, canary, pace, acknowledged, _material(body.get("material", {})))


def _material(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise invalid("material", "must be an object of PEM texts")
    for name, text in value.items():
        if not isinstance(text, str) or len(text) > MAX_MATERIAL:
            raise invalid(f"material.{name}", "must be PEM text")
    return value
