"""What people get to see: a status only when it differs, an event for each change of a condition."""

from collections.abc import Mapping
from typing import Any

from rop_operator.api.facts import Document
from rop_operator.domain.conditions import previous
from rop_operator.ports import Store

TOLD = (
    "Accepted",
    "Ready",
    "Stalled",
    "Online",
    "Provisioned",
    "SettingsInSync",
    "CertificateValid",
    "Serving",
    "CertificatesValid",
    "ConfigInSync",
)
# Conditions whose True is bad news.
BAD = frozenset({"Stalled"})
# On the way: worth an event, no warning.
ON_THE_WAY = frozenset(
    {
        "Observing",
        "Starting",
        "HandingOver",
        "AwaitingOnline",
        "WaitingForClaim",
        "Writing",
        "Applying",
        "Restarting",
    }
)


async def put_when_different(store: Store, document: Document, status: Mapping[str, Any]) -> bool:
    """Write the status when it is not the stored one, and tell of the conditions that changed."""
    if dict(document.status) == dict(status):
        return False
    await store.put_status(document, status)
    for condition in status.get("conditions", ()):
        before = previous(document.status, condition["type"])
        if condition["type"] in TOLD and _changed(before, condition):
            type_ = "Normal" if _good(condition) else "Warning"
            said = f": {condition['message']}" if condition["message"] else ""
            told = f"{condition['type']} is {condition['status']}{said}"
            await store.record_event(document.ref, type_, condition["reason"], told)
    return True


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    if not before:
        return bool(now["status"] != "Unknown" and not (now["type"] in BAD and now["status"] == "False"))
    return bool(before.get("status") != now["status"] or before.get("reason") != now["reason"])


def _good(condition: Mapping[str, Any]) -> bool:
    if condition["reason"] in ON_THE_WAY or condition["status"] == "Unknown":
        return True
    return bool((condition["status"] == "True") != (condition["type"] in BAD))
