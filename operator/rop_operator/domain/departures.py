"""Guard against accidents: of a server's cameras only so many are cut off within a window without a person's word.

A deleted Camera waits for the judgement of its RopServer, which counts. Beyond the share of `spec.deletionGuard`
they are held: Terminating, but the device stays allowed. `MassDeletion` with the hold's id lets go what was
deleted until then and nothing later. The id is the moment of the newest deletion: it stays true while they go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rop_operator.api.durations import parse_duration
from rop_operator.api.facts import Document
from rop_operator.api.server import DeletionGuard, RopServerSpec
from rop_operator.domain.conditions import moment_of, timestamp
from rop_operator.domain.snapshot import Departure, ServerSnapshot

EDGE = "MassDeletion"
# Deletions of one command or one pruned folder arrive one after the other: they are counted together.
SETTLE = 2.0
Leave = tuple[str, datetime | None]


def leave_of(camera: Document) -> Leave:
    """Identity of one deletion: a Camera that came back and is deleted again is another one."""
    return (camera.uid, camera.deleting)


@dataclass(frozen=True, slots=True)
class Departures:
    """Deleted Cameras that may be revoked and those that may not yet. `hold` acknowledges the held ones. `settle`:
    seconds until it can be said. `counted` of `total` cameras go or went within the window.
    """

    released: frozenset[Leave] = frozenset()
    held: frozenset[Leave] = frozenset()
    hold: str | None = None
    settle: float | None = None
    counted: int = 0
    total: int = 0

    def verdict(self, camera: Document) -> Departure:
        """What this says of a deleted Camera."""
        leave = leave_of(camera)
        return "Held" if leave in self.held else "Released" if leave in self.released else "Unjudged"

    def message(self) -> str:
        """For people, when some are held."""
        return (
            f"{self.counted} of {self.total} cameras are being deleted: {len(self.held)} are held, still allowed; "
            f"bring them back (ropctl undelete), or write spec.acknowledge: [{{edge: {EDGE}, value: {self.hold}}}]"
        )


NOBODY = Departures()


def judge(snapshot: ServerSnapshot) -> Departures:
    """Which of the deleted Cameras of a server may be revoked now."""
    leaving = [d for d in snapshot.cameras if d.deleting is not None]
    if not leaving or snapshot.parsed is None:
        return NOBODY
    everyone = frozenset(map(leave_of, leaving))
    live = {d.spec.get("uid") for d in snapshot.cameras if d.deleting is None}
    owed = [d for d in leaving if _owed(snapshot, d) and d.spec.get("uid") not in live]
    guard = snapshot.spec.deletion_guard or DeletionGuard()
    counted = len({d.spec.get("uid") for d in owed}) + _gone(snapshot, guard, live)
    found = Departures(counted=counted, total=len(live) + counted)
    asked = [d for d in owed if not _acknowledged(snapshot.spec, d)]
    over = counted >= guard.min_cameras and counted * 100 > guard.percent * found.total
    if asked and (over or _held_before(snapshot, asked)):
        held = frozenset(map(leave_of, asked))
        newest = max(d.deleting for d in asked if d.deleting is not None)
        return replace(found, released=everyone - held, held=held, hold=timestamp(newest))
    settle = _settling(snapshot, asked) if found.total >= guard.min_cameras else None
    waiting = frozenset(map(leave_of, asked)) if settle is not None else frozenset()
    return replace(found, released=everyone - waiting, settle=settle)


def _owed(snapshot: ServerSnapshot, camera: Document) -> bool:
    """Whether its going cuts a device off that is allowed now."""
    device = snapshot.devices.get(str(camera.spec.get("uid")))
    return camera.spec.get("deletionPolicy") != "Orphan" and device is not None and device.access == "Allowed"


def _gone(snapshot: ServerSnapshot, guard: DeletionGuard, live: set[Any]) -> int:
    """Devices that were cut off within the window and have no Camera."""
    since = snapshot.now - timedelta(seconds=parse_duration(guard.window))
    denied = (d for d in snapshot.devices.values() if d.access == "Denied" and d.uid not in live)
    return sum(1 for device in denied if device.denied_at is not None and device.denied_at > since)


def _acknowledged(spec: RopServerSpec, camera: Document) -> bool:
    moments = [moment_of(a.value) for a in spec.acknowledge if a.edge == EDGE]
    asked = camera.deleting
    return asked is not None and any(m is not None and asked.replace(microsecond=0) <= m for m in moments)


def _held_before(snapshot: ServerSnapshot, asked: Sequence[Document]) -> bool:
    """Once held, fewer deletions do not end the hold: who brings cameras back one by one loses none on the way."""
    hold = moment_of((snapshot.status.get("deletions") or {}).get("hold"))
    if hold is None:
        return False
    return any(d.deleting is not None and d.deleting.replace(microsecond=0) <= hold for d in asked)


def _settling(snapshot: ServerSnapshot, asked: Sequence[Document]) -> float | None:
    """Seconds until the newest deletion is old enough to be judged."""
    ages = [(snapshot.now - d.deleting).total_seconds() for d in asked if d.deleting is not None]
    young = [SETTLE - age for age in ages if 0 <= age < SETTLE]
    return max(young) if young else None
