"""Grants: verbs and cameras. Decisions only; who has which grant is known elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

VERBS = ("read", "live", "replay", "control", "provision", "firmware")
MAX_UIDS = 10_000
MAX_LABELS = 32
_UID = re.compile(r"[A-Z0-9]{16}")
# As Kubernetes has them: the labels of Camera documents.
_LABEL_NAME = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")

LabelsOf = Callable[[str], Mapping[str, str]]


class GrantError(Exception):
    """A grant that cannot be. `member` names the part of it."""

    def __init__(self, member: str, rule: str) -> None:
        super().__init__(f"{member}: {rule}")
        self.member = member
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Cameras:
    """Those listed, and those that have all of these labels."""

    uids: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)

    def include(self, uid: str, labels_of: LabelsOf) -> bool:
        """Whether a camera is among them."""
        if uid in self.uids:
            return True
        found = labels_of(uid) if self.labels else {}
        return bool(self.labels) and all(found.get(name) == value for name, value in self.labels.items())

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"uids": sorted(self.uids), "labels": dict(sorted(self.labels.items()))}


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may do. `cameras` None: with every camera."""

    verbs: frozenset[str]
    cameras: Cameras | None = None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        cameras = None if self.cameras is None else self.cameras.document()
        return {"verbs": [verb for verb in VERBS if verb in self.verbs], "cameras": cameras}


EVERYTHING = Grant(frozenset(VERBS))


def decode_grant(raw: Any) -> Grant:
    """A grant out of its JSON; a grant without verbs is one too. Raises GrantError."""
    if not isinstance(raw, Mapping):
        raise GrantError("grant", "must be an object with verbs and cameras")
    verbs = raw.get("verbs")
    if not isinstance(verbs, list) or not all(isinstance(verb, str) and verb in VERBS for verb in verbs):
        raise GrantError("verbs", f"must be a list out of {', '.join(VERBS)}")
    return Grant(frozenset(verbs), _cameras(raw.get("cameras")))


def _cameras(raw: Any) -> Cameras | None:
    if raw is None:
        return None
    if not isinstance(raw, Mapping) or set(raw) - {"uids", "labels"}:
        raise GrantError("cameras", "must be an object with uids and labels, or null for every camera")
    uids, labels = raw.get("uids") or [], raw.get("labels") or {}
    if not isinstance(uids, list) or len(uids) > MAX_UIDS or not all(map(_is_uid, uids)):
        raise GrantError("cameras.uids", f"must be at most {MAX_UIDS} texts of 16 capital letters and digits")
    if not isinstance(labels, Mapping) or len(labels) > MAX_LABELS or not all(map(is_label, labels.items())):
        raise GrantError("cameras.labels", f"must be at most {MAX_LABELS} labels as Kubernetes has them")
    if not uids and not labels:
        raise GrantError("cameras", "names no camera; null means every camera")
    return Cameras(frozenset(uids), dict(labels))


def _is_uid(value: Any) -> bool:
    return isinstance(value, str) and _UID.fullmatch(value) is not None


def is_label(pair: tuple[Any, Any]) -> bool:
    """Whether name and value are a label."""
    name, value = pair
    fitting = isinstance(name, str) and isinstance(value, str)
    return fitting and bool(_LABEL_NAME.fullmatch(name)) and bool(_LABEL_VALUE.fullmatch(value))
