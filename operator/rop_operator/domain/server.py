"""Decisions for one RopServer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rop_operator.api.camera import UID_PATTERN
from rop_operator.api.facts import Document, ServerFacts
from rop_operator.domain.backup import judge_backup
from rop_operator.domain.config_map import BY_MEMBER, acknowledgement, desired_members, first_start, shown
from rop_operator.domain.departures import NOBODY, Departures, judge
from rop_operator.domain.gateway import judge_gateway
from rop_operator.domain.plan import (
    Action,
    ApplyConfig,
    EnsureRuntime,
    Finding,
    Plan,
    ReplaceClaims,
    RestartRuntime,
    StopGateway,
    StopRuntime,
    TakeManagement,
)
from rop_operator.domain.snapshot import SecretProblem, ServerSnapshot

STARTING = 1.0
RETRY = 5.0
_UID = re.compile(UID_PATTERN)


def claims_of(cameras: Iterable[Document], departures: Departures = NOBODY) -> tuple[str, ...]:
    """UIDs that may enrol: of allowed Cameras that are not being deleted, or whose deletion is held. Reads just
    two members of each, because a fleet has thousands of them.
    """
    found = set()
    for document in cameras:
        uid, access = document.spec.get("uid"), document.spec.get("access")
        stays = document.deleting is None or departures.verdict(document) == "Held"
        allowed = stays and access in (None, "Allowed")
        if allowed and isinstance(uid, str) and _UID.fullmatch(uid):
            found.add(uid)
    return tuple(sorted(found))


def enrolment_policy(snapshot: ServerSnapshot) -> str:
    """Documented, unless the spec says otherwise or the server was adopted with its cameras."""
    asked = snapshot.spec.enrolment.policy if snapshot.spec.enrolment else None
    if asked is not None:
        return asked
    return "Open" if snapshot.facts is not None and snapshot.facts.adopted else "Documented"


def claims_digest(policy: str, uids: Iterable[str], instance: str | None) -> str:
    """Short fingerprint of a set of claims on one instance, to see whether they were applied."""
    text = "\n".join((policy, instance or "", *uids))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def applied_digest(status: Mapping[str, Any]) -> str | None:
    """Fingerprint of the claims applied last, as the status remembers it."""
    kept = status.get("enrolment")
    return kept.get("digest") if isinstance(kept, Mapping) else None


@dataclass(frozen=True, slots=True)
class ConfigVerdict:
    """Members that differ: `write` now; `held` until acknowledged (member -> entry to write); `drift` as found."""

    write: Mapping[str, Any]
    held: Mapping[str, str]
    drift: tuple[str, ...]


def judge_config(snapshot: ServerSnapshot) -> ConfigVerdict:
    """Which members of the configuration to write."""
    facts = snapshot.facts
    wanted = desired_members(snapshot.spec, snapshot.secrets)
    if facts is None or facts.interface != "Management":
        return ConfigVerdict({}, {}, ())
    differing = [name for name in wanted if name in facts.config_differs]
    held: dict[str, str] = {}
    for name in differing:
        needs = acknowledgement(name, wanted[name])
        if needs is not None and not snapshot.spec.acknowledged(*needs):
            held[name] = f"{{edge: {needs[0]}, value: {needs[1]}}}"
    if snapshot.spec.config_policy == "Report" or snapshot.spec.suspend:
        return ConfigVerdict({}, held, tuple(differing))
    changed = list(wanted) if facts.config_file_changed else differing
    return ConfigVerdict({n: wanted[n] for n in changed if n not in held}, held, tuple(differing))


def stalled(snapshot: ServerSnapshot) -> Finding | None:
    """What only a person can mend, None when there is nothing."""
    if snapshot.problems:
        first = snapshot.problems[0]
        return Finding("Error", "Invalid", str(first), first.field)
    if snapshot.rivals:
        message = f"{snapshot.rivals[0].ref} points at the same server; delete one of the two"
        return Finding("Error", "IdentityConflict", message, "spec.external")
    if snapshot.managed and not snapshot.has_runtime:
        message = "this engine runs no servers; write spec.external with the address of a running one"
        return Finding("Error", "ExternalRequired", message, "spec.external")
    return None


def secret_findings(snapshot: ServerSnapshot) -> tuple[Finding, ...]:
    """Secrets without a value."""
    return tuple(
        Finding("Error", problem.reason, problem.message, field)
        for field, problem in snapshot.secrets.items()
        if isinstance(problem, SecretProblem)
    )


def plan_server(snapshot: ServerSnapshot) -> Plan:
    """What should happen next for this RopServer."""
    if snapshot.document.deleting is not None:
        stop = snapshot.parsed is not None and snapshot.managed and snapshot.has_runtime
        fronted = snapshot.gateway_run is not None and snapshot.gateway_run.state != "Stopped"
        gateway = (StopGateway(),) if stop and fronted else ()
        return Plan((*gateway, StopRuntime()) if stop else ())
    hindrance = stalled(snapshot)
    if hindrance is not None:
        return Plan(findings=(hindrance,))
    findings = list(secret_findings(snapshot))
    if any(f.field and f.field.startswith("spec.external.") for f in findings):
        return Plan(findings=tuple(findings))
    facts = snapshot.facts
    if facts is None or not facts.reachable:
        return _unreached(snapshot, findings)
    if facts.interface != "Management":
        findings.append(
            Finding("Info", "PollingOnly", "known by its client interface only", "spec.external.interface")
        )
        return Plan(findings=tuple(findings))
    return _managed(snapshot, facts, findings)


def _unreached(snapshot: ServerSnapshot, findings: list[Finding]) -> Plan:
    facts = snapshot.facts
    if not snapshot.managed:
        if facts is not None:
            findings.append(Finding("Warning", facts.error_reason or "Unreachable", facts.error or "no answer"))
        return Plan(wait=RETRY if facts is not None else None, findings=tuple(findings))
    if facts is not None and facts.runtime == "Failed":
        findings.append(Finding("Error", "RuntimeFailed", facts.runtime_message or "the server does not start"))
    members = desired_members(snapshot.spec, snapshot.secrets)
    return Plan((EnsureRuntime(members, first_start(snapshot.spec)),), STARTING, tuple(findings))


def _managed(snapshot: ServerSnapshot, facts: ServerFacts, findings: list[Finding]) -> Plan:
    """A server with the management interface: become its manager, then configuration, then claims."""
    actions: list[Action] = []
    if facts.fence is None:
        foreign = facts.manager_id not in (None, "", snapshot.manager_id)
        if foreign and not snapshot.spec.acknowledged("TakeOver", facts.manager_id or ""):
            message = (
                f"{facts.manager_id} manages this server; stop it, or write spec.acknowledge:"
                f" [{{edge: TakeOver, value: {facts.manager_id}}}]"
            )
            return Plan(findings=(*findings, Finding("Error", "ManagedElsewhere", message, "spec.acknowledge")))
        actions.append(TakeManagement(foreign))
    if facts.runtime_drift:
        actions.append(EnsureRuntime(desired_members(snapshot.spec, snapshot.secrets), first_start(snapshot.spec)))
    config = judge_config(snapshot)
    findings += config_findings(snapshot, config)
    if config.write:
        actions.append(ApplyConfig(config.write, shown(config.write)))
    restart, waiting = restart_reasons(snapshot, facts, config)
    findings += waiting
    departures = judge(snapshot)
    if departures.held:
        findings.append(Finding("Warning", "DeletionHeld", departures.message(), "spec.acknowledge"))
    policy, uids = enrolment_policy(snapshot), claims_of(snapshot.cameras, departures)
    if applied_digest(snapshot.status) != claims_digest(policy, uids, facts.instance_id):
        actions.append(ReplaceClaims(policy, uids))
    if restart and snapshot.managed and snapshot.has_runtime:
        actions.append(RestartRuntime(restart))
    elif restart:
        message = f"restart the server: {', '.join(restart)} take effect at its next start"
        findings.append(Finding("Warning", "RestartNeeded", message))
    backup, found = judge_backup(snapshot, facts)
    if backup is not None and not any(isinstance(action, RestartRuntime) for action in actions):
        actions.append(backup)
    findings += found
    front, found_there = judge_gateway(snapshot, facts)
    findings += found_there
    if not any(isinstance(action, RestartRuntime) for action in actions):
        actions += front
    return Plan(tuple(actions), None if facts.ready else STARTING, tuple(findings))


def restart_reasons(
    snapshot: ServerSnapshot, facts: ServerFacts, config: ConfigVerdict
) -> tuple[tuple[str, ...], list[Finding]]:
    """Why to start the server anew: members, and a pod or unit of old. The latter waits for a verified backup."""
    members = restart_members(snapshot, facts, config)
    if facts.runtime_outdated is None or snapshot.spec.suspend:
        return members, []
    if facts.keys_backed_up or snapshot.spec.acknowledged("NoBackup", snapshot.document.ref.name):
        return (*members, facts.runtime_outdated), []
    message = f"{facts.runtime_outdated}: the server is started anew once its keys are in a verified backup"
    return members, [Finding("Warning", "UpdateHeld", message)]


def restart_members(snapshot: ServerSnapshot, facts: ServerFacts, config: ConfigVerdict) -> tuple[str, ...]:
    """Members that take effect at the next start: already written ones, and those about to be."""
    if snapshot.spec.suspend:
        return ()
    differing = set(facts.config_differs)
    about = [name for name in config.write if name in differing and BY_MEMBER[name].apply == "Restart"]
    return tuple(dict.fromkeys((*facts.pending_restart, *about)))


def config_findings(snapshot: ServerSnapshot, config: ConfigVerdict) -> list[Finding]:
    """Held members and drift, for people."""
    found = [
        Finding(
            "Error",
            "AcknowledgementMissing",
            f"{member} differs; write spec.acknowledge: [{entry}], or put the old value back",
            f"spec.{BY_MEMBER[member].field}",
        )
        for member, entry in config.held.items()
    ]
    if config.drift and snapshot.spec.config_policy == "Report":
        found.append(Finding("Warning", "ConfigDrift", f"config.json differs: {', '.join(config.drift)}"))
    elif snapshot.facts is not None and snapshot.facts.config_file_changed and config.write:
        named = ", ".join(config.drift) or "members this document does not name"
        found.append(Finding("Warning", "ConfigDrift", f"config.json was edited by hand: {named}; repaired"))
    return found
