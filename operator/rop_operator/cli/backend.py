"""What the commands need from a host or a cluster: one Protocol, the same objects and errors from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rop_operator.api.facts import DeviceFacts, Found, Ref, Session
from rop_operator.api.questions import Question

Object = dict[str, Any]
# What is shown of metadata, in this order; the rest differs between hosts and says nothing to a user.
METADATA = (
    "name",
    "namespace",
    "uid",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
    "labels",
    "annotations",
)
# Written by kubectl apply for itself.
NOISE = ("kubectl.kubernetes.io/last-applied-configuration",)


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying an object did: `created`, `configured` or `unchanged`."""

    ref: Ref
    result: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an object was not accepted; `field` is empty when the whole is meant."""

    ref: Ref | None
    field: str
    rule: str
    remedy: str = ""


class ApplyRefused(Exception):
    """Nothing was applied."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(r.rule for r in refusals))
        self.refusals = tuple(refusals)


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event; times are RFC 3339 text."""

    object: Ref
    type: str
    reason: str
    message: str
    count: int = 1
    first_seen: str | None = None
    last_seen: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The row for `-o json`."""
        about = {"kind": self.object.kind, "namespace": self.object.namespace, "name": self.object.name}
        return {
            "type": self.type,
            "reason": self.reason,
            "object": about,
            "message": self.message,
            "count": self.count,
            "firstSeen": self.first_seen,
            "lastSeen": self.last_seen,
        }


@dataclass(frozen=True, slots=True)
class Check:
    """A line of `ropctl doctor`. `remedy` says what to do when it is not good."""

    name: str
    good: bool
    message: str
    remedy: str = field(default="")

    def as_json(self) -> dict[str, Any]:
        """The line for `-o json`."""
        return {"check": self.name, "good": self.good, "message": self.message, "remedy": self.remedy}


class Backend(Protocol):
    """A host's agent or a cluster's API server. Calls raise PortError with a message for a person."""

    async def namespace(self) -> str:
        """The namespace to use when none is given."""
        ...

    async def list(self, kind: str, namespace: str | None) -> Sequence[Object]:
        """Objects of a kind, in order of namespace and name; None: of all namespaces."""
        ...

    async def get(self, ref: Ref) -> Object | None:
        """One object, None when there is none."""
        ...

    async def apply(self, objects: Sequence[Object], source: str, force: bool) -> Sequence[Applied]:
        """Create or update all or nothing. ApplyRefused. `force` takes fields over from other writers."""
        ...

    async def delete(self, ref: Ref) -> bool:
        """Ask for deletion; False when there was none."""
        ...

    async def events(self, namespace: str | None, ref: Ref | None) -> Sequence[EventRow]:
        """Events, oldest first."""
        ...

    async def session(self, server: Ref, uid: str) -> Session:
        """An initialization session of that server for a camera."""
        ...

    async def ask(self, server: Ref, question: Question) -> Mapping[str, Any]:
        """What a person asks of a server."""
        ...

    async def devices(self, server: Ref) -> Sequence[DeviceFacts]:
        """Every device that a server has ever seen."""
        ...

    async def pki(self, server: Ref) -> Mapping[str, Any]:
        """The authority and the census of a server."""
        ...

    async def approve_renewal(self, server: Ref, uid: str, seconds: float) -> Mapping[str, Any]:
        """Let a device renew once within this time; `uid` and `until`."""
        ...

    async def discover(self, seconds: float) -> Sequence[Found]:
        """What answers on the LAN of the engine's machine."""
        ...

    async def put_firmware(self, sha256: str, file: Path) -> None:
        """Bring the file that FirmwareImages with this hash wait for. PortError."""
        ...

    async def set_secret(self, namespace: str, name: str, key: str, value: bytes) -> str:
        """Store a secret value; where it lies."""
        ...

    async def checks(self, namespace: str | None) -> Sequence[Check]:
        """Whether the engine of this host or cluster can work."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


def tidy(item: Mapping[str, Any]) -> Object:
    """An object as it is shown: the same members in the same order from every backend."""
    given = item.get("metadata") or {}
    metadata = {key: given[key] for key in METADATA if given.get(key) not in (None, [], {})}
    if "annotations" in metadata:
        kept = {k: v for k, v in metadata["annotations"].items() if k not in NOISE}
        metadata["annotations"] = kept
        if not kept:
            del metadata["annotations"]
    shown: Object = {"apiVersion": item.get("apiVersion"), "kind": item.get("kind"), "metadata": metadata}
    shown["spec"] = item.get("spec") or {}
    if item.get("status"):
        shown["status"] = item["status"]
    return shown


def ref_of(item: Mapping[str, Any]) -> Ref:
    """Identity of an object."""
    metadata = item["metadata"]
    return Ref(str(item["kind"]), str(metadata.get("namespace") or ""), str(metadata["name"]))


def condition(item: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
    """A condition of an object by type; empty when it has none."""
    found = (item.get("status") or {}).get("conditions") or ()
    return next((c for c in found if c.get("type") == type_), {})
