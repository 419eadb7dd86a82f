"""What a camera is wanted to be: its Camera over the CameraProfiles that select it.

Every setting, the mode of every setting and the wake budget are decided one by one: the Camera's own member wins,
then that of the profile with the highest priority. Two profiles of the same highest priority must agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rop_operator.api.camera import CameraSpec, Policy, Settings, WakeBudget
from rop_operator.api.facts import Document, Ref
from rop_operator.api.parse import problems_of, without_nulls
from rop_operator.api.profile import CameraProfileSpec
from rop_operator.api.registry import kind_of
from rop_operator.domain.selector import selects

# Field of the management interface -> path in the spec.
PATHS: Mapping[str, str] = {
    "displayName": "displayName",
    "pir.enabled": "settings.pir.enabled",
    "pir.sensitivity": "settings.pir.sensitivity",
    "pir.reduceMistakes": "settings.pir.reduceMistakes",
    "alarm.enabled": "settings.alarm.enabled",
}
BUDGET: Final = "wakeBudget"
CAMERA: Final = "Camera"


@dataclass(frozen=True, slots=True)
class Profile:
    """A valid CameraProfile."""

    ref: Ref
    spec: CameraProfileSpec

    def __str__(self) -> str:
        return f"CameraProfile/{self.ref.name}"

    @property
    def server(self) -> Ref:
        """The RopServer whose cameras are meant."""
        return Ref("RopServer", self.ref.namespace, self.spec.server_ref.name)

    def selects(self, camera: Document) -> bool:
        """Whether it means this Camera, by server and labels."""
        reference = camera.spec.get("serverRef")
        name = reference.get("name") if isinstance(reference, Mapping) else None
        here = camera.ref.namespace == self.ref.namespace and name == self.spec.server_ref.name
        return here and selects(self.spec.selector, camera.labels)


def profile_of(document: Document) -> Profile | None:
    """A CameraProfile as it is merged, None for one that is invalid or being deleted."""
    kind = kind_of("CameraProfile")
    if kind is None or document.deleting is not None or problems_of(kind, document.spec):
        return None
    return Profile(document.ref, CameraProfileSpec.model_validate(without_nulls(document.spec)))


@dataclass(frozen=True, slots=True)
class Want:
    """A decided value, its mode (Enforce, Report, Ignore), and where it comes from: `Camera` or
    `CameraProfile/NAME`.
    """

    value: Any
    mode: str
    source: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Profiles of equal priority that disagree about a path of the spec."""

    path: str
    profiles: tuple[str, ...]

    def __str__(self) -> str:
        named = " and ".join(self.profiles)
        return (
            f"{named} have the same priority and disagree about {self.path}; change one, or write it in the Camera"
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything that is wanted of one camera. `digest` changes when something that can be written does."""

    fields: Mapping[str, Want]
    budget: Want | None = None
    conflicts: tuple[Conflict, ...] = ()
    digest: str = ""

    def mode(self, name: str) -> str:
        """Enforce, Report or Ignore for a field."""
        return self.fields[name].mode


@dataclass(frozen=True, slots=True)
class _Layer:
    """What one document says: values by path, and modes."""

    source: str
    priority: float
    values: Mapping[str, Any]
    policy: Policy | None
    suspend: bool = False

    def mode(self, path: str) -> str | None:
        """Its mode for a path, None when it does not say. The override with the longest matching path wins."""
        if self.policy is None:
            return None
        matching = [o for o in self.policy.overrides if path == o.field or path.startswith(f"{o.field}.")]
        return max(matching, key=lambda o: len(o.field)).mode if matching else self.policy.default


def _values(settings: Settings | None, name: str | None, budget: WakeBudget | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    tree = {"settings": {} if settings is None else settings.model_dump(by_alias=True, exclude_none=True)}
    for path in PATHS.values():
        value: Any = tree
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            found[path] = value
    if name is not None:
        found["displayName"] = name
    if budget is not None:
        found[BUDGET] = budget
    return found


def _layers(spec: CameraSpec, profiles: Iterable[Profile]) -> list[_Layer]:
    own = _Layer(CAMERA, float("inf"), _values(spec.settings, spec.display_name, spec.wake_budget), spec.policy)
    others = [
        _Layer(
            str(p),
            p.spec.priority,
            _values(p.spec.settings, None, p.spec.wake_budget),
            p.spec.policy,
            p.spec.suspend,
        )
        for p in sorted(profiles, key=lambda p: p.ref)
    ]
    return [own, *others]


def _decide(said: Sequence[tuple[_Layer, Any]], path: str, conflicts: list[Conflict]) -> tuple[_Layer, Any] | None:
    """The value of the highest layer that has one; a conflict when those at the top disagree."""
    if not said:
        return None
    top = max(layer.priority for layer, _ in said)
    highest = [(layer, value) for layer, value in said if layer.priority == top]
    first = highest[0]
    if any(value != first[1] for _, value in highest):
        conflicts.append(Conflict(path, tuple(layer.source for layer, _ in highest)))
    return first


def merge(spec: CameraSpec, profiles: Iterable[Profile] = ()) -> Wanted:
    """What is wanted of a camera with this spec that these profiles select."""
    layers = _layers(spec, profiles)
    conflicts: list[Conflict] = []

    def want(path: str) -> Want | None:
        said = [(layer, layer.values[path]) for layer in layers if path in layer.values]
        chosen = _decide(said, path, conflicts)
        if chosen is None:
            return None
        modes = [(layer, mode) for layer in layers if (mode := layer.mode(path)) is not None]
        decided = _decide(modes, f"the policy for {path}", conflicts)
        mode = decided[1] if decided is not None else "Enforce"
        return Want(chosen[1], "Report" if chosen[0].suspend and mode == "Enforce" else mode, chosen[0].source)

    fields = {name: found for name, path in PATHS.items() if (found := want(path)) is not None}
    return Wanted(fields, want(BUDGET), tuple(conflicts), _digest(fields))


def _digest(fields: Mapping[str, Want]) -> str:
    """Short fingerprint of values and modes."""
    told = {name: [each.value, each.mode] for name, each in fields.items()}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
