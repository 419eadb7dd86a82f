"""What is to be said of a FirmwareImage: whether its file is here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rop_operator.api.facts import Document
from rop_operator.api.firmware import FirmwareImageSpec
from rop_operator.api.parse import problems_of, without_nulls
from rop_operator.api.registry import kind_of
from rop_operator.domain.conditions import Condition, merged
from rop_operator.domain.plan import Finding, Plan
from rop_operator.domain.status import state_conditions

# A file with another hash lies there: it will not get better by asking often.
TERMINAL = frozenset({"HashMismatch", "TooLarge", "EgressRefused"})
RETRY, RETRY_TERMINAL = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class ImageSnapshot:
    """A FirmwareImage at one moment. `size` (bytes): its file is here. `failure`: reason and message of the last
    try to bring it.
    """

    document: Document
    now: datetime
    size: int | None = None
    failure: tuple[str, str] | None = None


def image_of(document: Document) -> FirmwareImageSpec | None:
    """The model of a FirmwareImage, None for an invalid one."""
    kind = kind_of("FirmwareImage")
    if kind is None or problems_of(kind, document.spec):
        return None
    return FirmwareImageSpec.model_validate(without_nulls(document.spec))


def wait_of(snapshot: ImageSnapshot) -> float | None:
    """Seconds after which to try again, None for only on change."""
    if snapshot.size is not None or snapshot.failure is None:
        return None
    return RETRY_TERMINAL if snapshot.failure[0] in TERMINAL else RETRY


def image_status(snapshot: ImageSnapshot) -> dict[str, Any]:
    """The whole status."""
    document = snapshot.document
    status: dict[str, Any] = {"observedGeneration": document.generation}
    spec = image_of(document)
    if spec is None:
        found = _invalid(document)
    else:
        accepted = Condition("Accepted", "True", "Accepted")
        found = [accepted, *_state(snapshot, spec)]
        if snapshot.size is not None:
            status["size"] = snapshot.size
    status["conditions"] = merged(document.status, found, document.generation, snapshot.now)
    return status


def _invalid(document: Document) -> list[Condition]:
    kind = kind_of("FirmwareImage")
    told = str(problems_of(kind, document.spec)[0]) if kind is not None else ""
    ready = Condition("Ready", "False", "Invalid", told)
    return [Condition("Accepted", "False", "Invalid", told), *state_conditions(ready, told, ready)]


def _state(snapshot: ImageSnapshot, spec: FirmwareImageSpec) -> list[Condition]:
    if snapshot.size is not None:
        return state_conditions(Condition("Ready", "True", "Stored", f"{snapshot.size} bytes"), None, None)
    if snapshot.failure is not None:
        ready = Condition("Ready", "False", *snapshot.failure)
        return state_conditions(ready, ready.message, ready if ready.reason in TERMINAL else None)
    if spec.source.http is not None:
        return state_conditions(Condition("Ready", "False", "Fetching"), "the file is being fetched", None)
    message = f"bring the file: ropctl firmware upload {snapshot.document.ref.name} FILE"
    return state_conditions(Condition("Ready", "False", "UploadPending", message), message, None)


def preview_image(document: Document) -> Plan:
    """For `ropctl plan`: nothing happens to a device."""
    spec = image_of(document)
    if spec is None:
        kind = kind_of("FirmwareImage")
        problems = problems_of(kind, document.spec) if kind is not None else []
        return Plan(findings=tuple(Finding("Error", "Invalid", str(p), p.field) for p in problems[:1]))
    return Plan()
