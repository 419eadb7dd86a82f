"""Whether an object still is as its manifest says. What others added to it is none of our business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# The API server may write sizes in its own way (1024Mi as 1Gi), so they are compared as numbers.
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "m": 0.001, "": 1}


def contains(live: Any, wanted: Any) -> bool:
    """Whether everything of `wanted` is in `live`. Entries with a `name` are found by it; other lists must have
    the same length and order.
    """
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            _absent(live.get(name), value) or contains(live.get(name), value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(live, list) and _list_contains(live, wanted)
    return bool(live == wanted) or _same_quantity(live, wanted)


def _absent(live: Any, wanted: Any) -> bool:
    """An empty value that the API server left out."""
    return live is None and (wanted is False or (isinstance(wanted, Mapping | list) and not wanted))


def _list_contains(live: Sequence[Any], wanted: Sequence[Any]) -> bool:
    if wanted and all(isinstance(entry, Mapping) and "name" in entry for entry in wanted):
        named = {entry.get("name"): entry for entry in live if isinstance(entry, Mapping)}
        return all(contains(named.get(entry["name"]), entry) for entry in wanted)
    return len(live) == len(wanted) and all(contains(a, b) for a, b in zip(live, wanted, strict=True))


def _same_quantity(live: Any, wanted: Any) -> bool:
    one, other = _quantity(live), _quantity(wanted)
    return one is not None and one == other


def _quantity(value: Any) -> float | None:
    if not isinstance(value, str):
        return None
    unit = next((unit for unit in _UNITS if unit and value.endswith(unit)), "")
    digits = value.removesuffix(unit) if unit else value
    return int(digits) * _UNITS[unit] if digits.isascii() and digits.isdigit() else None
