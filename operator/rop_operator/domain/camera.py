"""Decisions for one Camera."""

from __future__ import annotations

from rop_operator.domain import provisioning, settings
from rop_operator.domain.deletion import has_finalizer, plan_deletion
from rop_operator.domain.ownership import owner, owns
from rop_operator.domain.plan import Action, Finding, Plan, SetAccess, SetFinalizer
from rop_operator.domain.snapshot import CameraSnapshot

ONE_WAY = (
    "the hand-over is one-way: the vendor's app no longer reaches the camera; its firmware must support the"
    " open platform"
)


def obstacle(snapshot: CameraSnapshot) -> Finding | None:
    """What keeps a live Camera from being acted for at all, None when nothing does."""
    if snapshot.problems:
        first = snapshot.problems[0]
        return Finding("Error", "Invalid", str(first), first.field)
    reference = f"RopServer/{snapshot.document.ref.namespace}/{snapshot.spec.server_ref.name}"
    if snapshot.server_document is None:
        return Finding("Warning", "ServerNotFound", f"{reference} does not exist", "spec.serverRef")
    if snapshot.server_document.deleting is not None:
        return Finding("Warning", "ServerGoing", f"{reference} is being deleted", "spec.serverRef")
    if not owns(snapshot):
        message = f"{owner(snapshot).ref} is older and has the same UID; delete one of the two"
        return Finding("Error", "DuplicateUID", message, "spec.uid")
    return None


def plan_camera(snapshot: CameraSnapshot) -> Plan:
    """What should happen next for this Camera."""
    if snapshot.document.deleting is not None:
        return plan_deletion(snapshot)
    hindrance = obstacle(snapshot)
    if hindrance is not None:
        return Plan(findings=(hindrance,))
    actions: list[Action] = []
    if snapshot.managed_interface and not has_finalizer(snapshot):
        actions.append(SetFinalizer(True))
    if snapshot.server is None or not snapshot.server.reachable:
        finding = Finding("Warning", "ServerNotReady", "the server is not reachable", "spec.serverRef")
        return Plan(tuple(actions), findings=(finding,))
    return _served(snapshot, actions)


def _served(snapshot: CameraSnapshot, actions: list[Action]) -> Plan:
    """The server is there: access first, then set-up, then settings."""
    findings: list[Finding] = []
    access = snapshot.spec.access
    if not snapshot.managed_interface:
        findings.append(Finding("Info", "PollingOnly", "the server's interface has no claims, access or events"))
        if access == "Denied":
            message = "the client interface cannot deny devices"
            findings.append(Finding("Error", "NotSupported", message, "spec.access"))
            return Plan(tuple(actions), findings=tuple(findings))
    else:
        actual = snapshot.device.access if snapshot.device else "Allowed"
        if access != actual:
            actions.append(SetAccess(snapshot.uid, access))
        if access == "Denied":
            return Plan(tuple(actions), findings=tuple(findings))
    waits: list[float | None] = []
    setup = provisioning.judge(snapshot)
    waits.append(setup.wait)
    if setup.action is not None:
        actions.append(setup.action)
        findings.append(Finding("Warning", "OneWay", ONE_WAY, "spec.provision"))
    held = settings.judge(snapshot)
    waits.append(held.wait)
    if held.action is not None and setup.action is None:
        actions.append(held.action)
    findings += held.findings
    due = [wait for wait in waits if wait is not None]
    later = (held.later,) if held.later is not None and not snapshot.suspended else ()
    return Plan(tuple(actions), min(due) if due else None, tuple(findings), later)
