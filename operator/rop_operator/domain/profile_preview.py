"""`ropctl profile preview`: whom a CameraProfile concerns, where each setting comes from, what a change costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rop_operator.api.facts import Document, Ref
from rop_operator.documents import Parsed
from rop_operator.domain.plan import Plan
from rop_operator.domain.preview import applied, plan_for
from rop_operator.domain.profile_status import Row, rows, wanted_of
from rop_operator.domain.profiles import Conflict, Profile, profile_of


@dataclass(frozen=True, slots=True)
class Concerned:
    """A camera that the profiles select, or did before. `rows`: its settings as they will be wanted; `before`:
    what was wanted, by field; `conflicts`: what profiles disagree about; `plan`: what will be done for it.
    """

    camera: Ref
    rows: tuple[Row, ...]
    before: Mapping[str, Row]
    conflicts: tuple[Conflict, ...]
    plan: Plan

    def change(self, row: Row) -> str:
        """`new`, the value wanted before, `other source` for the same value, or nothing."""
        old = self.before.get(row.field)
        if old is None:
            return "new"
        if (old.value, old.mode) != (row.value, row.mode):
            return f"was {old.value} ({old.mode})" if old.mode != row.mode else f"was {old.value}"
        return "other source" if old.source != row.source else ""

    @property
    def dropped(self) -> tuple[Row, ...]:
        """What is wanted no longer: the camera keeps what it has."""
        kept = {row.field for row in self.rows}
        return tuple(row for field, row in self.before.items() if field not in kept)


def concerned(
    new: Sequence[Parsed], current: Sequence[Document], chosen: Iterable[Ref], now: datetime
) -> list[Concerned]:
    """The cameras of the `chosen` CameraProfiles once `new` is applied, in order of their names. `new` has to name
    every stored Camera as well, for its plan.
    """
    before = {document.ref: document for document in current}
    after = applied(new, current, now)
    plans = dict(plan_for(new, current, now))
    old, profiles = _profiles(before.values()), _profiles(after.values())
    meant = set(chosen)
    versions = [profile for profile in (*old, *profiles) if profile.ref in meant]
    found = []
    for ref in sorted(ref for ref in after if ref.kind == "Camera" and after[ref].deleting is None):
        camera, known = after[ref], before.get(ref)
        if not any(p.selects(d) for p in versions for d in (camera, known) if d is not None):
            continue
        wanted = wanted_of(camera, profiles)
        was = wanted_of(known, old) if known is not None else None
        found.append(
            Concerned(
                ref,
                tuple(rows(camera, wanted)) if wanted is not None else (),
                {row.field: row for row in rows(known, was)} if known is not None and was is not None else {},
                wanted.conflicts if wanted is not None else (),
                plans.get(ref, Plan()),
            )
        )
    return found


def _profiles(documents: Iterable[Document]) -> list[Profile]:
    found = [profile_of(d) for d in documents if d.ref.kind == "CameraProfile"]
    return [profile for profile in found if profile is not None]
