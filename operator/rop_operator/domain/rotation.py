"""The procedure of a KeyRotation: which step of which item comes next. The server guards each step itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rop_operator.api.facts import RotationFacts
from rop_operator.api.rotation import KeyRotationSpec
from rop_operator.domain.operation import PENDING, Situation, Step, ended, problem, server_spec_of
from rop_operator.domain.plan import Finding, Plan, RotateStep

LOOK_AGAIN = 10.0
# Steps of each item in their order, with the phase that each leads to.
PATHS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "Root": (
        ("Prepare", "Prepared"),
        ("CrossSign", "CrossSigned"),
        ("Canary", "Canary"),
        ("Roll", "Rolling"),
        ("Observe", "Observing"),
        ("Retire", "Retired"),
    ),
    "Intermediate": (
        ("Prepare", "Prepared"),
        ("Roll", "Rolling"),
        ("Observe", "Observing"),
        ("Retire", "Retired"),
    ),
    "ServerCertificate": (("Prepare", "Prepared"), ("Roll", "Rolling"), ("Retire", "Retired")),
    "DeviceKey": (("Prepare", "Prepared"), ("Roll", "Rolling"), ("Retire", "Retired")),
    "SignKey": (("Prepare", "Prepared"), ("Roll", "Rolling"), ("Retire", "Retired")),
}
BACKED_UP = "BackedUp"


def rotate(situation: Situation) -> Step:
    """The next step of this KeyRotation. `situation.seen` are the server's rotations."""
    spec: KeyRotationSpec = situation.spec
    state = next((r for r in situation.seen or () if r.item == spec.item), None)
    if state is None:
        return Step(PENDING, "NotSupported", f"this server does not rotate {spec.item}", end="Failed")
    if spec.abort:
        return _aborted(spec, state)
    if state.target is None and state.generation >= spec.to_generation:
        return Step("Retired", "Complete", f"{spec.item} has generation {state.generation}", end="Complete")
    wanted = (state.target or state.generation + 1) == spec.to_generation
    if not wanted:
        told = (
            f"generation {state.target} is on its way"
            if state.target
            else f"generation {state.generation} is in use"
        )
        message = f"{told}; the next one is {state.target or state.generation + 1}, not {spec.to_generation}"
        return Step(PENDING, "GenerationGap", message, end="Failed")
    return _next(situation, spec, state)


def _aborted(spec: KeyRotationSpec, state: RotationFacts) -> Step:
    if state.target != spec.to_generation:
        done = state.generation >= spec.to_generation
        message = "it was complete before" if done else f"{spec.item} stays at generation {state.generation}"
        return Step("Aborting", "Aborted", message, end="Failed")
    order = RotateStep(spec.item, "Abort", spec.to_generation)
    return Step("Aborting", "Aborting", f"back to generation {state.generation}", (order,), LOOK_AGAIN)


def _next(situation: Situation, spec: KeyRotationSpec, state: RotationFacts) -> Step:
    path = PATHS[spec.item]
    at = next((i for i, (_, phase) in enumerate(path) if phase == state.phase), -1)
    order = _order(situation, spec, path[at + 1][0], state)
    here = Step(
        state.phase if at >= 0 else PENDING,
        order.step,
        f"next: {order.step}",
        wait=LOOK_AGAIN,
        done=state.done if state.total else None,
        total=state.total or None,
        record={"generation": state.generation, "detail": dict(state.detail)},
    )
    if here.phase == "Prepared" and situation.server is not None:
        if situation.server.keys_backed_up is False and not _may_be_lost(situation):
            message = "the new keys are in no verified backup yet; see BackedUp of the RopServer"
            return replace(here, reason="BackupRequired", message=message, held=True)
        here = replace(here, phase=BACKED_UP)
    if order.step == "Retire" and order.acknowledged is None and spec.retire.when == "Manual":
        message = f"waits for spec.acknowledge {_entry(spec, state)} on the RopServer"
        return replace(here, reason="AcknowledgementMissing", message=message, held=True)
    if order.step == "Canary" and spec.canary and not order.canary:
        message = "no Camera of spec.canary exists on this server; make one, or set spec.abort and begin anew"
        return replace(here, reason="CanaryLost", message=message, held=True)
    if here.phase in ("Rolling", "Canary") and state.done < state.total and order.acknowledged is None:
        return replace(here, reason="Rolling", message=f"{state.done} of {state.total} devices have it")
    return replace(here, actions=(order,))


def _order(situation: Situation, spec: KeyRotationSpec, step: str, state: RotationFacts) -> RotateStep:
    names = spec.canary.cameras if spec.canary else ()
    by_name = {document.ref.name: str(document.spec.get("uid")) for document in situation.cameras}
    canary = tuple(by_name[name] for name in names if name in by_name)
    pace = spec.pace.devices_per_minute if spec.pace else None
    given_up = _given_up(situation, spec, state)
    return RotateStep(
        spec.item,
        step,
        spec.to_generation,
        canary if step == "Canary" else (),
        pace if step == "Roll" else None,
        given_up if step in ("Observe", "Retire") else None,
    )


def _edge(spec: KeyRotationSpec, state: RotationFacts) -> tuple[str, str]:
    if spec.item == "Root":
        return "RetireRoot", str(state.detail.get("oldRootSHA256") or "")
    return "RetireKey", f"{spec.item}:{state.generation}"


def _entry(spec: KeyRotationSpec, state: RotationFacts) -> str:
    edge, value = _edge(spec, state)
    return f"{{edge: {edge}, value: {value}}}"


def _may_be_lost(situation: Situation) -> bool:
    """Whether the RopServer says that its keys may be lost (a demo)."""
    document, spec = situation.server_document, server_spec_of(situation)
    return document is not None and spec is not None and spec.acknowledged("NoBackup", document.ref.name)


def _given_up(situation: Situation, spec: KeyRotationSpec, state: RotationFacts) -> str | None:
    """What the RopServer acknowledges to give up, None when it does not."""
    edge, value = _edge(spec, state)
    server = server_spec_of(situation)
    if not value or server is None:
        return None
    return value if server.acknowledged(edge, value) else None


def preview(situation: Situation) -> Plan:
    """For `ropctl plan`: the steps that are still to come, each taken when the server allows it."""
    document = situation.document
    hindrance = problem(situation)
    if hindrance is not None:
        return Plan(findings=(hindrance,))
    if ended(document) is not None or document.deleting is not None:
        return Plan()
    spec: KeyRotationSpec = situation.spec
    if spec.abort:
        return Plan((RotateStep(spec.item, "Abort", spec.to_generation),))
    path = PATHS[spec.item]
    reached = {phase["name"] for phase in situation.status.get("phases") or ()}
    after = max((i for i, (_, phase) in enumerate(path) if phase in reached), default=-1) + 1
    state = RotationFacts(spec.item, spec.to_generation - 1, detail=situation.kept.get("detail") or {})
    steps = tuple(_order(situation, spec, step, state) for step, _ in path[after:])
    said = "one step after the other, each when the server allows it; spec.abort goes back before Retire"
    return Plan(steps, findings=(Finding("Info", "StepByStep", said),))
