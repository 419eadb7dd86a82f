"""What a CameraProfile does: the cameras it selects, those it disagrees about, its status; and the preview of
both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rop_operator.api.camera import WakeBudget
from rop_operator.api.facts import Document
from rop_operator.api.parse import camera_spec, problems_of
from rop_operator.api.registry import Kind, kind_of
from rop_operator.domain.conditions import Condition, merged
from rop_operator.domain.plan import Finding, Plan
from rop_operator.domain.profiles import BUDGET, PATHS, Profile, Want, Wanted, merge
from rop_operator.domain.selector import shown
from rop_operator.domain.settings import shown_value
from rop_operator.domain.status import state_conditions
from rop_operator.errors import Problem

NAMED = 3


@dataclass(frozen=True, slots=True)
class ProfileSnapshot:
    """A CameraProfile at one moment: `cameras` of its server, `others`: the valid profiles of that server beside
    it, `server` None: there is no such RopServer.
    """

    document: Document
    now: datetime
    profile: Profile | None
    server: Document | None = None
    cameras: Sequence[Document] = ()
    others: Sequence[Profile] = ()

    @property
    def problems(self) -> list[Problem]:
        """Rules that the document breaks."""
        return problems_of(_kind("CameraProfile"), self.document.spec)

    @property
    def selected(self) -> list[Document]:
        """Cameras that it selects and that are not being deleted."""
        if self.profile is None:
            return []
        return [d for d in self.cameras if d.deleting is None and self.profile.selects(d)]


def _kind(name: str) -> Kind:
    found = kind_of(name)
    if found is None:
        raise LookupError(name)
    return found


def wanted_of(camera: Document, profiles: Iterable[Profile]) -> Wanted | None:
    """What is wanted of a Camera, None for an invalid one."""
    if problems_of(_kind("Camera"), camera.spec):
        return None
    return merge(camera_spec(camera.spec), [p for p in profiles if p.selects(camera)])


def conflicts(snapshot: ProfileSnapshot) -> list[tuple[str, str]]:
    """Names of cameras and what this profile and another disagree about."""
    mine = snapshot.profile
    if mine is None or not any(o.spec.priority == mine.spec.priority for o in snapshot.others):
        return []
    found = []
    for camera in snapshot.selected:
        wanted = wanted_of(camera, [mine, *snapshot.others])
        told = [c for c in wanted.conflicts if str(mine) in c.profiles] if wanted is not None else []
        if told:
            found.append((camera.ref.name, str(told[0])))
    return found


def plan_profile(snapshot: ProfileSnapshot) -> Plan:
    """Nothing is done for a profile itself; what there is to say of it."""
    finding = _hindrance(snapshot) or _remark(snapshot)
    return Plan(findings=(finding,) if finding is not None else ())


def _hindrance(snapshot: ProfileSnapshot) -> Finding | None:
    problems = snapshot.problems
    if problems:
        return Finding("Error", "Invalid", str(problems[0]), problems[0].field)
    if snapshot.server is None:
        name = snapshot.document.spec["serverRef"]["name"]
        message = f"RopServer/{snapshot.document.ref.namespace}/{name} does not exist"
        return Finding("Warning", "ServerNotFound", message, "spec.serverRef")
    return None


def _remark(snapshot: ProfileSnapshot) -> Finding | None:
    disputed = conflicts(snapshot)
    if disputed:
        names = ", ".join(name for name, _ in disputed[:NAMED])
        more = f" and {len(disputed) - NAMED} more" if len(disputed) > NAMED else ""
        return Finding("Error", "ProfileConflict", f"{disputed[0][1]} ({names}{more})", "spec.priority")
    if snapshot.profile is not None and not snapshot.selected:
        message = f"no Camera of the server has labels that {shown(snapshot.profile.spec.selector)} selects"
        return Finding("Warning", "SelectsNothing", message, "spec.selector")
    return None


def profile_status(snapshot: ProfileSnapshot) -> dict[str, Any]:
    """The whole status."""
    generation = snapshot.document.generation
    status: dict[str, Any] = {"observedGeneration": generation}
    hindrance = _hindrance(snapshot)
    if hindrance is not None:
        accepted = Condition("Accepted", "False", hindrance.reason, hindrance.message)
        ready = Condition("Ready", "False", hindrance.reason, hindrance.message)
        stuck = ready if hindrance.reason == "Invalid" else None
        found = [accepted, *state_conditions(ready, ready.message, stuck)]
    else:
        status["cameras"] = {"selected": len(snapshot.selected)}
        disputed = len(conflicts(snapshot))
        if disputed:
            status["cameras"]["conflicting"] = disputed
        found = [Condition("Accepted", "True", "Accepted"), *_state(snapshot)]
    status["conditions"] = merged(snapshot.document.status, found, generation, snapshot.now)
    return status


def _state(snapshot: ProfileSnapshot) -> list[Condition]:
    remark = _remark(snapshot)
    if remark is None:
        reason = "Suspended" if snapshot.profile is not None and snapshot.profile.spec.suspend else "Ready"
        return state_conditions(Condition("Ready", "True", reason), None, None)
    if remark.reason == "SelectsNothing":
        return state_conditions(Condition("Ready", "True", remark.reason, remark.message), None, None)
    ready = Condition("Ready", "False", remark.reason, remark.message)
    return state_conditions(ready, ready.message, ready)


@dataclass(frozen=True, slots=True)
class Row:
    """One setting of one camera: what is wanted, of which document, how strictly, and what was seen last."""

    camera: str
    field: str
    value: str
    source: str
    mode: str
    seen: str | None


def rows(camera: Document, wanted: Wanted) -> Iterator[Row]:
    """Each field of a camera with its source."""
    observed = camera.status.get("observed")
    kept = observed.get("settings") if isinstance(observed, Mapping) else None
    known = kept if isinstance(kept, Mapping) else {}
    name = camera.ref.name
    for field, want in wanted.fields.items():
        seen = shown_value(known[field]) if field in known else None
        yield Row(name, PATHS[field], shown_value(want.value), want.source, want.mode, seen)
    if wanted.budget is not None:
        yield Row(name, BUDGET, _group(wanted.budget), wanted.budget.source, "-", None)


def _group(want: Want) -> str:
    match want.value:
        case WakeBudget() as budget:
            return f"{budget.per_day} a day"
        case other:
            return shown_value(other)
