"""What a pod's status says, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rop_operator.adapters.kube_names import Manifest

# A container that waits for one of these does not start without somebody's help, or fails again and again.
_TROUBLE = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
LONGEST = 500


def ready(pod: Manifest) -> bool:
    """Whether the pod is ready and stays."""
    return "deletionTimestamp" not in pod["metadata"] and _condition(pod, "Ready").get("status") == "True"


def _condition(pod: Manifest, type_: str) -> dict[str, Any]:
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((dict(each) for each in conditions if each["type"] == type_), {})


def pod_trouble(pod: Manifest) -> str | None:
    """Why the pod does not come up by itself, None when nothing says so."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        return f"no node takes the pod: {scheduled.get('message', '')}"[:LONGEST]
    for container in _statuses(pod):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") in _TROUBLE:
            said = _last_words(container) or waiting.get("message") or ""
            return f"container {container['name']}: {waiting['reason']}: {said}"[:LONGEST]
    return None


def _statuses(pod: Manifest) -> Iterator[Manifest]:
    status = pod.get("status", {})
    for member in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(member) or ()


def _last_words(container: Manifest) -> str:
    """The last line that the container said before it ended; of a JSON line its message."""
    said = (container.get("lastState", {}).get("terminated") or {}).get("message") or ""
    lines = [line for line in said.splitlines() if line.strip()]
    if not lines:
        return ""
    try:
        document = json.loads(lines[-1])
    except ValueError:
        return str(lines[-1])
    if not isinstance(document, dict):
        return str(lines[-1])
    words = [str(document[key]) for key in ("message", "error", "event", "action", "remedy") if document.get(key)]
    return "; ".join(words) or str(lines[-1])
