"""Deleting documents: what has to happen before a Camera may go, and what keeps a RopServer."""

from __future__ import annotations

from rop_operator.api.facts import Document
from rop_operator.api.parse import problems_of, server_spec
from rop_operator.api.registry import FINALIZER, kind_of
from rop_operator.domain.ownership import live_rivals
from rop_operator.domain.plan import Action, Finding, Plan, SetAccess, SetFinalizer
from rop_operator.domain.provisioning import journal_of
from rop_operator.domain.snapshot import CameraSnapshot

RETRY = 5.0


def has_finalizer(snapshot: CameraSnapshot) -> bool:
    """Whether the Camera waits for us when it is deleted."""
    return FINALIZER in snapshot.document.finalizers


def _touched(snapshot: CameraSnapshot) -> bool:
    """Whether the device may hold, or be about to get, a certificate of this server."""
    journal = journal_of(snapshot.status)
    return snapshot.device is not None or (journal is not None and journal.phase in ("SessionOpen", "HandedOver"))


def nothing_to_revoke(snapshot: CameraSnapshot) -> str | None:
    """Why a deleted Camera may go at once, None when its device has to be denied first."""
    if snapshot.parsed is None:
        return "the document is invalid"
    if snapshot.spec.deletion_policy == "Orphan":
        return "deletionPolicy is Orphan: the device stays as it is"
    if snapshot.server_document is None or snapshot.server_document.deleting is not None:
        return "its server is gone or going"
    rivals = live_rivals(snapshot)
    if rivals:
        return f"{rivals[0].ref} takes the device over"
    if snapshot.server is None or not snapshot.server.reachable:
        return None
    if not snapshot.managed_interface:
        return "the client interface cannot revoke devices"
    if snapshot.device is not None and snapshot.device.access == "Denied":
        return "the device is denied"
    return None if _touched(snapshot) else "the device was never seen"


def plan_deletion(snapshot: CameraSnapshot) -> Plan:
    """Deny the device, then let the document go."""
    if not has_finalizer(snapshot):
        return Plan()
    free = nothing_to_revoke(snapshot)
    if free is not None:
        return Plan((SetFinalizer(False),), findings=(Finding("Info", "Released", free),))
    if snapshot.server is None or not snapshot.server.reachable:
        message = "the server cannot be told to revoke the device; deletionPolicy: Orphan lets it go unrevoked"
        return Plan(wait=RETRY, findings=(Finding("Warning", "RevocationPending", message),))
    if snapshot.departure == "Held":
        return Plan(findings=(Finding("Warning", "DeletionHeld", snapshot.hold, "spec.deletionPolicy"),))
    if snapshot.departure == "Unjudged":
        return Plan(
            findings=(Finding("Info", "Counting", "waits until its server counted what is being deleted"),)
        )
    actions: tuple[Action, ...] = (SetAccess(snapshot.uid, "Denied"), SetFinalizer(False))
    return Plan(actions)


def deletion_refused(document: Document) -> str | None:
    """Why a RopServer may not be deleted yet, None when it may. Other kinds always may."""
    kind = kind_of(document.ref.kind)
    if kind is None or kind.kind != "RopServer" or problems_of(kind, document.spec):
        return None
    if server_spec(document.spec).acknowledged("DeleteServer", document.ref.name):
        return None
    return (
        f"deleting {document.ref} stops the server for all its cameras; write spec.acknowledge: "
        f"[{{edge: DeleteServer, value: {document.ref.name}}}] first"
    )
