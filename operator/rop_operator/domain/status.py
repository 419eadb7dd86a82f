"""Status of documents: equal inputs give an equal status, so that nothing is written while nothing changes.

Values that move all the time (battery, last seen) are metrics and not in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from rop_operator.api.facts import DeviceFacts, ServerFacts, WriteResult
from rop_operator.domain import provisioning, settings
from rop_operator.domain.camera import obstacle
from rop_operator.domain.conditions import Condition, merged, previous, timestamp
from rop_operator.domain.plan import Action, Done, Failed, HandOver, Outcome, Plan, SetAccess, Wait, WriteSettings
from rop_operator.domain.snapshot import CameraSnapshot
from rop_operator.domain.wakes import ledger

Outcomes = Sequence[tuple[Action, Outcome]]
RENEWAL_OVERDUE = timedelta(days=7)
_TERMINAL = frozenset({"Invalid", "DuplicateUID"})
_HOLDING = frozenset({"RevocationPending", "DeletionHeld"})
_REMEMBERED = (
    "state",
    "family",
    "model",
    "firmware",
    "hardware",
    "address",
    "access",
    "denied_at",
    "registered_at",
    "wakes",
)


def state_conditions(ready: Condition, busy: str | None, stuck: Condition | None) -> list[Condition]:
    """Ready, Reconciling and Stalled as kstatus reads them. `busy`: what is under way."""
    idle = Condition("Reconciling", "False", "Reconciled")
    working = Condition("Reconciling", "True", ready.reason, busy or "")
    fine = Condition("Stalled", "False", "Reconciled")
    blocked = fine if stuck is None else Condition("Stalled", "True", stuck.reason, stuck.message)
    return [ready, working if busy is not None and stuck is None else idle, blocked]


def camera_status(snapshot: CameraSnapshot, plan: Plan, outcomes: Outcomes = ()) -> dict[str, Any]:
    """The whole status. `snapshot` is taken after the actions (journal and facts as they are now), `plan` is what
    was decided before them, `outcomes` what came of it.
    """
    conditions, extra = _camera_verdicts(snapshot, plan, outcomes)
    status: dict[str, Any] = {"observedGeneration": snapshot.document.generation}
    device = snapshot.device
    status["state"] = device.state if device is not None else "NeverSeen"
    if device is not None:
        shown = {name: getattr(device, name) for name in ("firmware", "model", "hardware", "family", "address")}
        status.update({name: value for name, value in shown.items() if value})
        if device.certificate is not None and device.certificate.not_after is not None:
            status["certificate"] = {"notAfter": timestamp(device.certificate.not_after)}
    used = ledger(snapshot.status, device, snapshot.now)
    if used.total:
        status["wakes"] = used.total
    if used.used:
        status["wakeBudget"] = used.to_status()
    status.update(extra)
    observed = _observed_device(snapshot)
    if observed:
        status["observed"] = observed
    status["conditions"] = merged(snapshot.status, conditions, snapshot.document.generation, snapshot.now)
    return status


def _camera_verdicts(
    snapshot: CameraSnapshot, plan: Plan, outcomes: Outcomes
) -> tuple[list[Condition], dict[str, Any]]:
    kept = {name: snapshot.status[name] for name in ("provision", "settings") if name in snapshot.status}
    if snapshot.document.deleting is not None:
        return _terminating(plan, outcomes), kept
    hindrance = obstacle(snapshot)
    if hindrance is not None:
        stuck = Condition("Stalled", "True", hindrance.reason, hindrance.message)
        ready = Condition("Ready", "False", hindrance.reason, hindrance.message)
        accepted = Condition("Accepted", "False", hindrance.reason, hindrance.message)
        terminal = hindrance.reason in _TERMINAL
        return [accepted, *state_conditions(ready, hindrance.message, stuck if terminal else None)], kept
    accepted = Condition("Accepted", "True", "Accepted")
    if snapshot.server is None or not snapshot.server.reachable:
        return [accepted, *_unserved(snapshot)], kept
    return _served(snapshot, accepted, outcomes, kept)


def _terminating(pending: Plan, outcomes: Outcomes) -> list[Condition]:
    refused = [o for _, o in outcomes if isinstance(o, Wait | Failed)]
    message = refused[0].message if refused else pending.findings[0].message if pending.findings else ""
    told = next((f.reason for f in pending.findings if f.reason in _HOLDING), "Terminating")
    ready = Condition("Ready", "False", "RevocationPending" if refused else told, message)
    stuck = ready if ready.reason == "DeletionHeld" else None
    return [Condition("Accepted", "True", "Accepted"), *state_conditions(ready, message, stuck)]


def _unserved(snapshot: CameraSnapshot) -> list[Condition]:
    """The server cannot be asked: what was known stays, but nobody knows whether the camera is online."""
    message = "the server is not reachable; see its conditions"
    ready = Condition("Ready", "False", "ServerNotReady", message)
    found = [*state_conditions(ready, message, None), Condition("Online", "Unknown", "ServerNotReady", message)]
    for type_ in ("Provisioned", "SettingsInSync", "CertificateValid"):
        before = previous(snapshot.status, type_)
        if before:
            found.append(Condition(type_, before["status"], before["reason"], before.get("message", "")))
    return found


def _served(
    snapshot: CameraSnapshot, accepted: Condition, outcomes: Outcomes, kept: dict[str, Any]
) -> tuple[list[Condition], dict[str, Any]]:
    online, certificate = _online(snapshot), _certificate(snapshot)
    setup, held = provisioning.judge(snapshot), settings.judge(snapshot)
    provisioned = _after(setup.condition, outcomes, HandOver)
    kept.pop("provision", None)
    if setup.journal is not None:
        kept["provision"] = setup.journal.to_status()
    failure = _write_failure(snapshot, held, outcomes)
    kept.pop("settings", None)
    in_sync = held.condition
    if failure is not None:
        in_sync = Condition("SettingsInSync", "False", failure.reason, failure.message)
    synced = in_sync.reason == "InSync"
    told = None if failure is None else failure.to_status()
    holds = settings.settings_status(snapshot, synced, told, _repaired(outcomes))
    if holds:
        kept["settings"] = holds
    stuck = _stuck(snapshot, setup, provisioned, in_sync, outcomes)
    ready = _ready(snapshot, [provisioned, online, certificate, in_sync], stuck)
    busy = None
    if ready.status != "True" and ready.reason not in ("DeviceOffline", "NotRequested", "NeverSeen", "Suspended"):
        busy = ready.message
    found = [accepted, *state_conditions(ready, busy, stuck), online, provisioned, in_sync, certificate]
    return found, kept


def _after(condition: Condition, outcomes: Outcomes, action: type[Action]) -> Condition:
    """The condition, or what just came of the action that should make it true."""
    for done, outcome in outcomes:
        if isinstance(done, action) and isinstance(outcome, Wait | Failed) and condition.status != "True":
            return Condition(condition.type, "False", outcome.reason, outcome.message)
    return condition


def _online(snapshot: CameraSnapshot) -> Condition:
    device = snapshot.device
    if device is not None and device.access == "Denied":
        return Condition("Online", "False", "Denied", "the server refuses the device")
    if device is None or device.state == "NeverSeen":
        return Condition("Online", "False", "NeverSeen", "the server has never heard of this UID")
    if device.state == "Offline":
        return Condition("Online", "False", "DeviceOffline", "the camera is not connected")
    return Condition("Online", "True", "Asleep" if device.state == "Asleep" else "Connected")


def _certificate(snapshot: CameraSnapshot) -> Condition:
    certificate = snapshot.device.certificate if snapshot.device is not None else None
    if not snapshot.managed_interface:
        return Condition("CertificateValid", "Unknown", "NotObservable", "the server's interface cannot tell")
    if certificate is None or certificate.not_after is None:
        return Condition("CertificateValid", "Unknown", "NotIssued")
    ends = f"valid until {timestamp(certificate.not_after)}"
    if certificate.not_after <= snapshot.now:
        return Condition("CertificateValid", "False", "Expired", ends)
    if certificate.not_after - snapshot.now < RENEWAL_OVERDUE:
        return Condition("CertificateValid", "False", "RenewalOverdue", ends)
    return Condition("CertificateValid", "True", "Valid", ends)


def _repaired(outcomes: Outcomes) -> tuple[str, ...]:
    """Fields whose drift was written over."""
    done = [a for a, o in outcomes if isinstance(a, WriteSettings) and isinstance(o, Done)]
    return tuple(name for action in done for name in action.drifted)


def _write_failure(
    snapshot: CameraSnapshot, held: settings.Verdict, outcomes: Outcomes
) -> settings.Failure | None:
    """What `status.settings.lastFailure` has to say, None when settings are in sync or may simply be written."""
    if held.condition.status == "True" or not settings.view_of(snapshot).repair:
        return None
    for action, outcome in outcomes:
        if not isinstance(action, WriteSettings) or not action.write:
            continue
        told: tuple[str, str] | None = None
        if isinstance(outcome, Wait | Failed):
            told = (outcome.reason, outcome.message)
        elif isinstance(outcome, Done) and isinstance(outcome.value, WriteResult):
            told = settings.failure_of(outcome.value.errors)
        if told is not None:
            return settings.Failure(snapshot.now, snapshot.wanted.digest, *told)
    return settings.last_failure(snapshot)


def _ready(snapshot: CameraSnapshot, parts: Sequence[Condition], stuck: Condition | None) -> Condition:
    if snapshot.spec.access == "Denied":
        if snapshot.device is not None and snapshot.device.access == "Denied":
            return Condition("Ready", "True", "Denied", "the server refuses the device, as asked")
        if not snapshot.managed_interface:
            return Condition("Ready", "False", "NotSupported", "the client interface cannot deny devices")
        if snapshot.device is None:
            return Condition("Ready", "True", "Denied", "the server has never heard of the device")
        return Condition("Ready", "False", "Denied", "the denial is being recorded")
    for part in parts:
        if part.status == "True" or (part.status == "Unknown" and part.type != "Online"):
            continue
        if part.type == "CertificateValid" and part.reason != "Expired":
            continue
        if part.type == "SettingsInSync" and (part.reason == "Drift" or (snapshot.asleep and not stuck)):
            continue
        return Condition("Ready", "False", part.reason, part.message)
    return Condition("Ready", "True", "Ready")


def _stuck(
    snapshot: CameraSnapshot,
    setup: provisioning.Verdict,
    provisioned: Condition,
    in_sync: Condition,
    outcomes: Outcomes,
) -> Condition | None:
    if snapshot.spec.access == "Denied" and not snapshot.managed_interface:
        return Condition("Stalled", "True", "NotSupported", "the client interface cannot deny devices")
    if setup.failed:
        return provisioned
    if snapshot.wanted.conflicts or in_sync.reason == "DriftStorm":
        return in_sync
    for action, outcome in outcomes:
        if isinstance(outcome, Failed) and isinstance(action, HandOver | SetAccess):
            return Condition("Stalled", "True", outcome.reason, outcome.message)
    return None


def _observed_device(snapshot: CameraSnapshot) -> dict[str, Any]:
    """The device's facts, without those that move all the time, to rebuild the snapshot from."""
    device = snapshot.device
    if device is None:
        known = settings.known_settings(snapshot)
        return {"settings": {name: fact.value for name, fact in known.items()}} if known else {}
    kept = device.model_dump(mode="json", by_alias=True, include=set(_REMEMBERED), exclude_none=True)
    if device.certificate is not None:
        kept["certificate"] = {"serial": device.certificate.serial}
        if device.certificate.not_after is not None:
            kept["certificate"]["notAfter"] = timestamp(device.certificate.not_after)
    if device.pinned_root is not None:
        kept["pinnedRoot"] = device.pinned_root.model_dump(mode="json", by_alias=True)
    known = settings.known_settings(snapshot)
    if known:
        kept["settings"] = {name: known[name].value for name in sorted(known)}
    return kept


def device_facts_of(status: Mapping[str, Any], uid: str) -> DeviceFacts | None:
    """The device's facts as a status remembers them, None when the server had never heard of it."""
    kept = status.get("observed")
    if not isinstance(kept, Mapping) or "state" not in kept:
        return None
    values = kept.get("settings")
    facts = {name: {"value": value} for name, value in values.items()} if isinstance(values, Mapping) else {}
    try:
        return DeviceFacts.model_validate({**kept, "uid": uid, "settings": facts})
    except ValidationError:
        return None


def server_facts_of(status: Mapping[str, Any]) -> ServerFacts | None:
    """The server's facts as a status remembers them, None when it was never reached. Management is taken to be
    held when it was; differences of the configuration are not remembered.
    """
    kept = status.get("observed")
    if not isinstance(kept, Mapping) or "interface" not in kept:
        return None
    try:
        fence = 0 if kept.get("managing") else None
        return ServerFacts.model_validate({**kept, "fence": fence, "backup": _backup_of(status)})
    except ValidationError:
        return None


def _backup_of(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    kept = status.get("backup")
    if not isinstance(kept, Mapping):
        return None
    return {"configured": kept.get("configured"), "covered": kept.get("covers")}
