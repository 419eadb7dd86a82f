"""Status of a RopServer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rop_operator.api.facts import ServerFacts
from rop_operator.domain.backup import backup_condition, backup_status
from rop_operator.domain.conditions import Condition, merged, timestamp
from rop_operator.domain.config_map import public_members
from rop_operator.domain.departures import judge
from rop_operator.domain.drill import drill_condition
from rop_operator.domain.gateway import gateway_condition, gateway_status
from rop_operator.domain.plan import Done, Failed, Finding, Plan, ReplaceClaims, Wait
from rop_operator.domain.server import (
    claims_digest,
    claims_of,
    judge_config,
    restart_reasons,
    secret_findings,
    stalled,
)
from rop_operator.domain.snapshot import TALKING, ServerSnapshot
from rop_operator.domain.status import Outcomes, state_conditions

RENEWAL_OVERDUE = timedelta(days=3)
_LASTING = (
    "interface",
    "reachable",
    "instance_id",
    "host",
    "version",
    "root_sha256",
    "adopted",
    "ready",
    "ports",
    "manager_id",
    "features",
    "runtime",
    "pending_restart",
)


def server_status(snapshot: ServerSnapshot, plan: Plan, outcomes: Outcomes = ()) -> dict[str, Any]:
    """The whole status. `snapshot` is taken after the actions, `plan` is what was decided before them."""
    status: dict[str, Any] = {"observedGeneration": snapshot.document.generation}
    facts = snapshot.facts
    status["cameras"] = _cameras(snapshot)
    if facts is not None and facts.reachable:
        status.update(_seen(snapshot, facts))
    else:
        kept = ("identity", "serverCertificate", "config", "backup", "observed")
        status.update({name: snapshot.status[name] for name in kept if name in snapshot.status})
    gateway = gateway_status(snapshot, outcomes)
    if gateway:
        status["gateway"] = gateway
    enrolment = _enrolment(snapshot, outcomes)
    if enrolment is not None:
        status["enrolment"] = enrolment
    departures = judge(snapshot)
    if departures.held:
        status["deletions"] = {"hold": departures.hold, "held": len(departures.held)}
    conditions = _conditions(snapshot, plan, outcomes)
    status["conditions"] = merged(snapshot.status, conditions, snapshot.document.generation, snapshot.now)
    return status


def _cameras(snapshot: ServerSnapshot) -> dict[str, Any]:
    uids = {str(document.spec.get("uid")) for document in snapshot.cameras if document.deleting is None}
    online = sum(1 for uid in uids if uid in snapshot.devices and snapshot.devices[uid].state in TALKING)
    unknown = sum(1 for uid in snapshot.devices if uid not in uids)
    found: dict[str, Any] = {"summary": f"{online}/{len(uids)}", "documented": len(uids), "online": online}
    if unknown:
        found["undocumented"] = unknown
    return found


def _seen(snapshot: ServerSnapshot, facts: ServerFacts) -> dict[str, Any]:
    found: dict[str, Any] = {}
    identity = {
        "instanceID": facts.instance_id,
        "rootSHA256": facts.root_sha256,
        "host": facts.host,
        "version": facts.version,
        "adopted": facts.adopted or None,
        "signer": facts.backup.signer if facts.backup is not None else None,
    }
    known = {name: value for name, value in identity.items() if value}
    if known:
        found["identity"] = known
    if facts.server_certificate_not_after is not None:
        found["serverCertificate"] = {"notAfter": timestamp(facts.server_certificate_not_after)}
    if facts.backup is not None:
        found["backup"] = backup_status(facts.backup)
    if facts.pending_restart:
        found["config"] = {"pendingRestart": list(facts.pending_restart)}
    observed = facts.model_dump(mode="json", by_alias=True, include=set(_LASTING), exclude_none=True)
    observed["config"] = public_members(facts.config)
    observed["managing"] = facts.fence is not None
    found["observed"] = {name: value for name, value in observed.items() if value not in ([], {})}
    return found


def _enrolment(snapshot: ServerSnapshot, outcomes: Outcomes) -> dict[str, Any] | None:
    """Claims applied last, by fingerprint."""
    for action, outcome in outcomes:
        if isinstance(action, ReplaceClaims) and isinstance(outcome, Done) and snapshot.facts is not None:
            digest = claims_digest(action.policy, action.uids, snapshot.facts.instance_id)
            return {"policy": action.policy, "claimed": len(action.uids), "digest": digest}
    kept = snapshot.status.get("enrolment")
    return dict(kept) if isinstance(kept, Mapping) else None


def _conditions(snapshot: ServerSnapshot, plan: Plan, outcomes: Outcomes) -> list[Condition]:
    hindrance = stalled(snapshot)
    if snapshot.document.deleting is not None:
        ready = Condition("Ready", "False", "Terminating", "the document is being deleted")
        return [Condition("Accepted", "True", "Accepted"), *state_conditions(ready, ready.message, None)]
    secrets = secret_findings(snapshot)
    accepted = Condition("Accepted", "True", "Accepted")
    if hindrance is not None or secrets:
        first = hindrance or secrets[0]
        accepted = Condition("Accepted", "False", first.reason, _told(first))
    serving = _serving(snapshot)
    config = _config(snapshot, outcomes)
    certificates = _certificates(snapshot)
    backup = backup_condition(snapshot, outcomes)
    gateway = gateway_condition(snapshot, outcomes)
    front = [] if gateway is None else [gateway]
    drilled = drill_condition(snapshot)
    drills = [] if drilled is None else [drilled]
    parts = [accepted, serving, config, certificates, backup, *front]
    stuck = _stuck(hindrance, plan)
    ready = _ready(parts, stuck)
    busy = ready.message if ready.status != "True" else None
    state = state_conditions(ready, busy, stuck)
    return [accepted, *state, serving, certificates, config, backup, *drills, *front, _observed(snapshot)]


def _told(finding: Finding) -> str:
    return f"{finding.field}: {finding.message}" if finding.field else finding.message


def _stuck(hindrance: Finding | None, plan: Plan) -> Condition | None:
    """Only a person can go on from here."""
    if hindrance is not None:
        return Condition("Stalled", "True", hindrance.reason, _told(hindrance))
    for finding in plan.findings:
        if finding.reason in ("AcknowledgementMissing", "ManagedElsewhere", "BackupMissing", "DeletionHeld"):
            return Condition("Stalled", "True", finding.reason, _told(finding))
    return None


def _ready(parts: Sequence[Condition], stuck: Condition | None) -> Condition:
    if stuck is not None:
        return Condition("Ready", "False", stuck.reason, stuck.message)
    for part in parts:
        if part.status == "True" or part.reason in (
            "ConfigDrift",
            "RestartNeeded",
            "NotObservable",
            "RenewalOverdue",
            "NoBackup",
            "UpdateHeld",
        ):
            continue
        return Condition("Ready", "False", part.reason, part.message)
    return Condition("Ready", "True", "Ready")


def _serving(snapshot: ServerSnapshot) -> Condition:
    facts = snapshot.facts
    if facts is None:
        return Condition("Serving", "Unknown", "Observing", "not observed yet")
    if not facts.reachable:
        if facts.runtime == "Failed":
            return Condition(
                "Serving", "False", "RuntimeFailed", facts.runtime_message or "the server does not start"
            )
        if facts.runtime in ("Starting", "Running"):
            return Condition("Serving", "False", "Starting", facts.runtime_message or "the server is starting")
        return Condition("Serving", "False", facts.error_reason or "Unreachable", facts.error or "no answer")
    if not facts.ready:
        return Condition("Serving", "False", "Starting", "not every port listens yet")
    return Condition("Serving", "True", "Running")


def _config(snapshot: ServerSnapshot, outcomes: Outcomes) -> Condition:
    facts = snapshot.facts
    if facts is None or not facts.reachable or snapshot.parsed is None:
        return Condition("ConfigInSync", "Unknown", "Observing", "not observed yet")
    if facts.interface != "Management":
        return Condition("ConfigInSync", "Unknown", "NotObservable", "the client interface does not show it")
    for action, outcome in outcomes:
        if type(action).__name__ == "ApplyConfig" and isinstance(outcome, Wait | Failed):
            return Condition("ConfigInSync", "False", outcome.reason, outcome.message)
    verdict = judge_config(snapshot)
    if verdict.held:
        return Condition("ConfigInSync", "False", "AcknowledgementMissing", f"waiting: {', '.join(verdict.held)}")
    if verdict.write:
        return Condition("ConfigInSync", "False", "Applying", f"to be written: {', '.join(verdict.write)}")
    if verdict.drift:
        reason = "Suspended" if snapshot.spec.suspend else "ConfigDrift"
        return Condition("ConfigInSync", "False", reason, f"config.json differs: {', '.join(verdict.drift)}")
    restart, held = restart_reasons(snapshot, facts, verdict)
    if restart:
        reason = "Restarting" if snapshot.managed and snapshot.has_runtime else "RestartNeeded"
        return Condition("ConfigInSync", "False", reason, f"at the next start: {', '.join(restart)}")
    if held:
        return Condition("ConfigInSync", "False", held[0].reason, held[0].message)
    return Condition("ConfigInSync", "True", "InSync")


def _certificates(snapshot: ServerSnapshot) -> Condition:
    facts = snapshot.facts
    ends = facts.server_certificate_not_after if facts is not None else None
    if facts is not None and facts.interface != "Management":
        return Condition(
            "CertificatesValid", "Unknown", "NotObservable", "the client interface does not show them"
        )
    if ends is None:
        return Condition("CertificatesValid", "Unknown", "Observing", "not observed yet")
    message = f"valid until {timestamp(ends)}"
    if ends <= snapshot.now:
        return Condition("CertificatesValid", "False", "Expired", message)
    if ends - snapshot.now < RENEWAL_OVERDUE:
        return Condition("CertificatesValid", "False", "RenewalOverdue", message)
    return Condition("CertificatesValid", "True", "Valid", message)


def _observed(snapshot: ServerSnapshot) -> Condition:
    facts = snapshot.facts
    if facts is None or not facts.reachable:
        return Condition("FullyObserved", "Unknown", "Observing", "not observed yet")
    if facts.interface == "Management":
        return Condition("FullyObserved", "True", "Reconciled")
    message = "polled: certificates, access, claims, wakes and configuration are not known"
    return Condition("FullyObserved", "False", "PollingOnly", message)


def claimed_uids(snapshot: ServerSnapshot) -> frozenset[str]:
    """UIDs that the server lets enrol now, as far as the status knows: for `CameraSnapshot.claimed`."""
    kept = snapshot.status.get("enrolment")
    policy = kept.get("policy") if isinstance(kept, Mapping) else None
    uids = claims_of(snapshot.cameras)
    instance = snapshot.facts.instance_id if snapshot.facts is not None else None
    current = isinstance(kept, Mapping) and kept.get("digest") == claims_digest(str(policy), uids, instance)
    return frozenset(uids) if current else frozenset()
