"""The machine of every run (rotation, backup, drill, rollout): begin, phases, hold, abort, end.

A kind brings one pure function, its procedure: from a `Situation` to a `Step`. What all runs share is here: a spec
that must be valid, a server that must be there, `suspend`, the journal of phases, and an end that stays the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from rop_operator.api.facts import DeviceFacts, Document, Ref, ServerFacts
from rop_operator.api.parse import problems_of, server_spec, without_nulls
from rop_operator.api.registry import kind_of
from rop_operator.api.server import RopServerSpec
from rop_operator.domain.conditions import Condition, merged, previous, timestamp
from rop_operator.domain.plan import Action, Failed, Finding, Outcome, Wait

NOT_READY_RETRY = 5.0
PENDING = "Pending"
_ENDS = ("Complete", "Failed")


@dataclass(frozen=True, slots=True)
class Situation:
    """A run at one moment. `server_document` None: there is no such RopServer; `server` None: not observed yet.
    `cameras` name this server, `devices` are what it knows by UID. `seen` is what the kind observed for itself.
    """

    document: Document
    now: datetime
    server_document: Document | None = None
    server: ServerFacts | None = None
    cameras: Sequence[Document] = ()
    devices: Mapping[str, DeviceFacts] = field(default_factory=dict)
    seen: Any = None

    @property
    def status(self) -> Mapping[str, Any]:
        """The status as last written."""
        return self.document.status

    @property
    def kept(self) -> Mapping[str, Any]:
        """What the procedure recorded (`status.observed`)."""
        known = self.status.get("observed")
        return known if isinstance(known, Mapping) else {}

    @property
    def spec(self) -> Any:
        """The model of the spec. Only for documents without problems."""
        kind = kind_of(self.document.ref.kind)
        if kind is None:
            raise LookupError(self.document.ref.kind)
        return kind.model.model_validate(without_nulls(self.document.spec))


@dataclass(frozen=True, slots=True)
class Step:
    """What a procedure decided. `phase` is where the run is, `actions` come next, `wait` (seconds) looks again.
    `held`: nothing may go on for now, `reason` says why. `end`: this is the end. `record` goes into the status.
    """

    phase: str
    reason: str
    message: str = ""
    actions: tuple[Action, ...] = ()
    wait: float | None = None
    held: bool = False
    end: Literal["Complete", "Failed"] | None = None
    done: int | None = None
    total: int | None = None
    record: Mapping[str, Any] = field(default_factory=dict)


Procedure = Callable[[Situation], Step]


def ended(document: Document) -> str | None:
    """`Complete` or `Failed` once a run has ended, else None."""
    return next((end for end in _ENDS if previous(document.status, end).get("status") == "True"), None)


def server_of(document: Document) -> Ref | None:
    """The RopServer a run is about, None when its spec does not say."""
    reference = document.spec.get("serverRef")
    name = reference.get("name") if isinstance(reference, Mapping) else None
    return Ref("RopServer", document.ref.namespace, name) if isinstance(name, str) else None


def problem(situation: Situation) -> Finding | None:
    """What a person has to mend before a run can begin, None when nothing."""
    kind = kind_of(situation.document.ref.kind)
    problems = problems_of(kind, situation.document.spec) if kind is not None else []
    if problems:
        return Finding("Error", "Invalid", str(problems[0]), problems[0].field)
    if situation.server_document is None:
        named = server_of(situation.document)
        return Finding("Warning", "ServerNotFound", f"{named} does not exist", "spec.serverRef")
    if situation.server_document.deleting is not None:
        return Finding(
            "Warning", "ServerGoing", f"{server_of(situation.document)} is being deleted", "spec.serverRef"
        )
    return None


def server_spec_of(situation: Situation) -> RopServerSpec | None:
    """The spec of its RopServer, None when that is not there or not valid."""
    document, kind = situation.server_document, kind_of("RopServer")
    if document is None or kind is None or problems_of(kind, document.spec):
        return None
    return server_spec(document.spec)


def decide(situation: Situation, procedure: Procedure, alone: bool = False) -> Step | None:
    """The next step; None when there is nothing to decide: an end, a deletion, or a problem. `alone`: it goes on
    while the server is away.
    """
    document = situation.document
    if ended(document) or document.deleting is not None or problem(situation) is not None:
        return None
    phase = str(situation.status.get("phase") or PENDING)
    spec = situation.spec
    server = situation.server
    if not alone and (server is None or not server.reachable):
        return Step(phase, "ServerNotReady", "the server is not reachable", wait=NOT_READY_RETRY, held=True)
    step = procedure(situation)
    stopped = spec.suspend or _suspended(situation.server_document)
    if stopped and step.actions and not spec.abort:
        # Its record tells of actions that are not taken now.
        return Step(phase, "Suspended", "spec.suspend is set here or on the RopServer", held=True)
    return step


def _suspended(server: Document | None) -> bool:
    return server is not None and server.spec.get("suspend") is True


Outcomes = Sequence[tuple[Action, Outcome]]


def run_status(situation: Situation, step: Step | None, outcomes: Outcomes = ()) -> dict[str, Any]:
    """The whole status after a step. `step` None: nothing was decided."""
    document, before = situation.document, situation.status
    status: dict[str, Any] = {**before, "observedGeneration": document.generation}
    status.pop("conditions", None)
    refusal = next((outcome for _, outcome in outcomes if isinstance(outcome, Wait | Failed)), None)
    if isinstance(refusal, Failed) and step is not None:
        step = Step(step.phase, refusal.reason, refusal.message, end="Failed", record=step.record)
    elif isinstance(refusal, Wait) and step is not None:
        step = Step(
            step.phase,
            refusal.reason,
            refusal.message,
            held=True,
            done=step.done,
            total=step.total,
            record=step.record,
        )
    if step is not None:
        _journal(status, step, situation.now)
    conditions = _conditions(situation, step)
    kind = kind_of(document.ref.kind)
    known = kind.conditions if kind is not None else ()
    told = [condition for condition in conditions if condition.type in known]
    status["conditions"] = merged(before, told, document.generation, situation.now)
    return status


def _journal(status: dict[str, Any], step: Step, now: datetime) -> None:
    """Where the run is and was: phases keep the time of their first arrival."""
    status["phase"] = step.phase if step.end is None else step.end
    status.setdefault("startedAt", timestamp(now))
    phases = list(status.get("phases") or ())
    for name in (step.phase, status["phase"]):
        if name != PENDING and name not in [phase["name"] for phase in phases]:
            phases.append({"name": name, "at": timestamp(now)})
    if phases:
        status["phases"] = phases
    if step.end is not None:
        status["completedAt"] = timestamp(now)
    if step.total is not None:
        done = step.done or 0
        status["progress"] = {"done": done, "total": step.total, "summary": f"{done}/{step.total}"}
    if step.record:
        status["observed"] = {**(status.get("observed") or {}), **step.record}


def _conditions(situation: Situation, step: Step | None) -> list[Condition]:
    hindrance = problem(situation)
    if hindrance is not None and ended(situation.document) is None:
        return _hindered(hindrance)
    if step is None:
        return _as_before(situation)
    accepted = Condition("Accepted", "True", "Accepted")
    if step.end == "Complete":
        return [
            accepted,
            Condition("Ready", "True", step.reason, step.message),
            Condition("Reconciling", "False", "Reconciled"),
            Condition("Stalled", "False", "Reconciled"),
            Condition("Progressing", "False", step.reason),
            Condition("Complete", "True", step.reason, step.message),
            Condition("Failed", "False", step.reason),
        ]
    failed = step.end == "Failed"
    return [
        accepted,
        Condition("Ready", "False", step.reason, step.message),
        Condition("Reconciling", "False" if failed else "True", step.reason, step.message),
        Condition("Stalled", "True" if failed else "False", step.reason if failed else "Reconciled", step.message),
        Condition("Progressing", "False" if failed or step.held else "True", step.reason, step.message),
        Condition("Complete", "False", step.reason),
        Condition("Failed", "True" if failed else "False", step.reason, step.message if failed else ""),
    ]


def _hindered(hindrance: Finding) -> list[Condition]:
    told = f"{hindrance.field}: {hindrance.message}" if hindrance.field else hindrance.message
    terminal = hindrance.reason == "Invalid"
    return [
        Condition("Accepted", "False", hindrance.reason, told),
        Condition("Ready", "False", hindrance.reason, told),
        Condition("Reconciling", "False" if terminal else "True", hindrance.reason),
        Condition("Stalled", "True" if terminal else "False", hindrance.reason, told if terminal else ""),
        Condition("Progressing", "False", hindrance.reason, told),
        Condition("Complete", "False", hindrance.reason),
        Condition("Failed", "False", hindrance.reason),
    ]


def _as_before(situation: Situation) -> list[Condition]:
    return [
        Condition(
            str(c.get("type")), c.get("status", "Unknown"), str(c.get("reason")), str(c.get("message") or "")
        )
        for c in situation.status.get("conditions") or ()
    ]
