"""Drift storms: a setting that is changed behind our back again and again is fought over with somebody else.

Each repair of a setting that nobody asked to change is a round. After `ROUNDS` of them within `WINDOW` the
setting is left alone until a person acts: by changing what is wanted, or by asking for a reconcile
(`rop.dev/requestedAt`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rop_operator.domain.conditions import moment_of, timestamp

ROUNDS = 5
WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Fight:
    """Repairs of one field: how many, the first and the last of them."""

    rounds: int
    first: datetime
    last: datetime

    @property
    def lost(self) -> bool:
        """Whether the field is left alone."""
        return self.rounds >= ROUNDS

    def to_status(self, field: str) -> dict[str, Any]:
        """As it is kept in `status.settings.repairs`."""
        return {
            "field": field,
            "rounds": self.rounds,
            "first": timestamp(self.first),
            "last": timestamp(self.last),
        }


def fights_of(kept: Any, asked: datetime | None) -> dict[str, Fight]:
    """What a status remembers. `asked`: when a person asked for a reconcile; what was before is forgotten."""
    found: dict[str, Fight] = {}
    for entry in kept if isinstance(kept, list) else ():
        if not isinstance(entry, Mapping):
            continue
        first, last = moment_of(entry.get("first")), moment_of(entry.get("last"))
        if first is not None and last is not None and not (asked is not None and asked > last):
            found[str(entry.get("field"))] = Fight(int(entry.get("rounds", 0)), first, last)
    return found


def counted(fights: Mapping[str, Fight], repaired: Iterable[str], now: datetime) -> dict[str, Fight]:
    """The fights after these fields were repaired once more; peace of a whole window ends a fight."""
    found = {field: fight for field, fight in fights.items() if fight.lost or now - fight.last < WINDOW}
    for field in repaired:
        known = found.get(field)
        fresh = known is None or now - known.first >= WINDOW
        found[field] = Fight(1, now, now) if fresh or known is None else Fight(known.rounds + 1, known.first, now)
    return found
