"""Backups of a server's keys: the policy it gets, whether the keys are safe, and what a status tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rop_operator.api.backup import CREDENTIAL_KEYS, BackupTarget
from rop_operator.api.facts import BackupFacts, BackupProblem, ServerFacts, TargetFacts
from rop_operator.api.server import RopServerSpec
from rop_operator.domain.conditions import Condition, timestamp
from rop_operator.domain.plan import ApplyBackup, Failed, Finding, Wait
from rop_operator.domain.snapshot import SecretProblem, ServerSnapshot, target_field
from rop_operator.domain.status import Outcomes

Secrets = Mapping[str, str | SecretProblem]


def desired_backup(spec: RopServerSpec, secrets: Secrets) -> dict[str, Any] | None:
    """The policy as the management interface takes it, credentials included; None when none is asked for, or a
    secret has no value.
    """
    backup = spec.backup
    if backup is None:
        return None
    targets = [_target(number, each, secrets) for number, each in enumerate(backup.targets)]
    if any(each is None for each in targets):
        return None
    return {
        "recipients": [{"name": r.name, "key": r.key, "scope": r.scope} for r in backup.recipients],
        "singleRecipient": backup.owner_alone(),
        "targets": targets,
        "onChange": backup.on_change,
        "schedule": backup.schedule,
        "timeZone": backup.time_zone,
        "retention": {"keepLast": backup.retention.keep_last, "keepDays": backup.retention.keep_days},
    }


def _target(number: int, target: BackupTarget, secrets: Secrets) -> dict[str, Any] | None:
    if target.directory is not None:
        return {"name": target.name, "directory": {"path": target.directory.path}}
    bucket = target.s3
    assert bucket is not None
    where = target_field(number)
    credentials = {key: secrets.get(f"{where}.credentialsRef.{key}") for key in CREDENTIAL_KEYS}
    authority = secrets.get(f"{where}.caRef") if bucket.ca_ref is not None else None
    usable = all(isinstance(value, str) for value in credentials.values())
    if not usable or (bucket.ca_ref is not None and not isinstance(authority, str)):
        return None
    told = {
        "endpoint": bucket.endpoint,
        "bucket": bucket.bucket,
        "prefix": bucket.prefix or "",
        "region": bucket.region,
        "caPEM": authority,
        "credentials": credentials,
    }
    return {"name": target.name, "s3": told}


def judge_backup(snapshot: ServerSnapshot, facts: ServerFacts) -> tuple[ApplyBackup | None, tuple[Finding, ...]]:
    """The policy to set, None when there is nothing to do; and what a person has to know."""
    known, spec = facts.backup, snapshot.spec
    if known is None:
        return None, ()
    held = lone_recipient(spec)
    if held is not None:
        return None, (held,)
    if not known.configured and spec.backup is None and not known.covered and not accepts_loss(snapshot):
        return None, (Finding("Error", "BackupMissing", _nowhere(snapshot), "spec.backup"),)
    policy = desired_backup(spec, snapshot.secrets)
    if policy is None or not known.differs or spec.suspend:
        return None, ()
    assert spec.backup is not None
    names = tuple(each.name for each in spec.backup.targets)
    return ApplyBackup(policy, names, tuple(each.name for each in spec.backup.recipients)), ()


def lone_recipient(spec: RopServerSpec) -> Finding | None:
    """A policy of which only one person can open the archives, unless that is acknowledged."""
    alone = spec.backup.owner_alone() if spec.backup is not None else None
    if alone is None or spec.acknowledged("SingleRecipient", alone):
        return None
    message = (
        f"only {alone} could restore this; add a second recipient of scope All, or write spec.acknowledge:"
        f" [{{edge: SingleRecipient, value: {alone}}}]"
    )
    return Finding("Error", "AcknowledgementMissing", message, "spec.backup.recipients")


def accepts_loss(snapshot: ServerSnapshot) -> bool:
    """Whether the document says that its keys may be lost."""
    return snapshot.spec.acknowledged("NoBackup", snapshot.document.ref.name)


def backup_condition(snapshot: ServerSnapshot, outcomes: Outcomes) -> Condition:
    """BackedUp: True while the present keys are in an archive that was read back from a target."""
    facts = snapshot.facts
    if facts is None or not facts.reachable or snapshot.parsed is None:
        return Condition("BackedUp", "Unknown", "Observing", "not observed yet")
    known = facts.backup
    if known is None:
        return Condition("BackedUp", "Unknown", "NotObservable", "this interface does not tell of backups")
    for action, outcome in outcomes:
        if isinstance(action, ApplyBackup) and isinstance(outcome, Wait | Failed):
            return Condition("BackedUp", "False", outcome.reason, outcome.message)
    held = lone_recipient(snapshot.spec)
    if held is not None:
        return Condition("BackedUp", "False", held.reason, held.message)
    return _covered(known) if known.covered else _uncovered(snapshot, known)


def _covered(known: BackupFacts) -> Condition:
    trouble = _trouble(known)
    if trouble is not None:
        return Condition("BackedUp", "True", trouble.reason, f"the keys are stored, but {trouble.message}")
    return Condition("BackedUp", "True", "Stored", f"generation {known.generation} of the keys is stored")


def _uncovered(snapshot: ServerSnapshot, known: BackupFacts) -> Condition:
    if accepts_loss(snapshot):
        return Condition("BackedUp", "False", "NoBackup", "the keys may be lost: spec.acknowledge says so")
    if not known.configured and snapshot.spec.backup is None:
        return Condition("BackedUp", "False", "BackupMissing", _nowhere(snapshot))
    trouble = _trouble(known)
    message = "no verified archive holds the present keys yet"
    return Condition("BackedUp", "False", "BackupMissing", f"{message}: {trouble.message}" if trouble else message)


def _nowhere(snapshot: ServerSnapshot) -> str:
    return (
        "the keys of all cameras are in no backup; write spec.backup, or for a demo spec.acknowledge:"
        f" [{{edge: NoBackup, value: {snapshot.document.ref.name}}}]"
    )


def _trouble(known: BackupFacts) -> BackupProblem | None:
    """The first thing that is wrong, with the target's name."""
    if known.problem is not None:
        return known.problem
    for target in known.targets:
        if target.problem is not None:
            text = f"target {target.name}: {target.problem.reason}: {target.problem.message}"
            return BackupProblem(reason=target.problem.reason, message=text)
    return None


def backup_status(known: BackupFacts) -> dict[str, Any]:
    """Member `backup` of the status."""
    times = [each.stored.stored_at for each in known.targets if each.stored and each.stored.stored_at]
    told: dict[str, Any] = {"configured": known.configured, "covers": known.covered}
    if known.generation is not None:
        told["generation"] = known.generation
    if times:
        told["lastVerified"] = timestamp(max(times))
    if known.targets:
        told["targets"] = [_target_status(each) for each in known.targets]
    return told


def _target_status(target: TargetFacts) -> dict[str, Any]:
    told: dict[str, Any] = {"name": target.name, "covered": target.covered}
    if target.stored is not None:
        told["archive"] = target.stored.name
        if target.stored.stored_at is not None:
            told["storedAt"] = timestamp(target.stored.stored_at)
    if target.problem is not None:
        told |= {"reason": target.problem.reason, "message": target.problem.message}
    return told
