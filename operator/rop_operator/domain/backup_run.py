"""The procedure of a RopBackup: ask the server once, then wait until every target gave the archive back."""

from __future__ import annotations

from typing import Any

from rop_operator.api.backup_run import RopBackupSpec
from rop_operator.api.facts import BackupRunFacts, RunTargetFacts
from rop_operator.domain.conditions import timestamp
from rop_operator.domain.operation import PENDING, Situation, Step, ended, problem
from rop_operator.domain.plan import Finding, MakeArchive, Plan

MAKING = "Making"
LOOK_AGAIN = 10.0


def back_up(situation: Situation) -> Step:
    """The next step of this RopBackup. `situation.seen` is the server's run, None before it was asked for."""
    run: BackupRunFacts | None = situation.seen
    spec: RopBackupSpec = situation.spec
    if run is not None and run.state != "Pending":
        return _ended(run)
    if spec.abort:
        told = "no archive was asked for" if run is None else "the archive that was asked for may still be made"
        return Step("Aborting", "Aborted", told, end="Failed", record=_record(run))
    if run is None:
        return _begin(situation)
    return Step(
        MAKING,
        MAKING,
        f"waits for {', '.join(t.name for t in run.targets if t.state == 'Pending')}",
        wait=LOOK_AGAIN,
        **_progress(run),
    )


def _begin(situation: Situation) -> Step:
    backup = situation.server.backup if situation.server is not None else None
    if backup is None:
        return Step(PENDING, "NotSupported", "this server does not make backups", end="Failed")
    if not backup.configured:
        return Step(PENDING, "PolicyUnknown", "the server has no backup policy; write spec.backup", held=True)
    return Step(PENDING, MAKING, actions=(order_of(situation),), wait=LOOK_AGAIN)


def order_of(situation: Situation) -> MakeArchive:
    """What is asked of the server. The document's uid is the id: after a kill it asks again for the same one."""
    spec: RopBackupSpec = situation.spec
    return MakeArchive(situation.document.uid, tuple(spec.target_names or ()), spec.retain)


def _ended(run: BackupRunFacts) -> Step:
    failed = [each for each in run.targets if each.state == "Failed"]
    if not failed:
        told = f"{run.archive} was stored and read back from {', '.join(each.name for each in run.targets)}"
        return Step(MAKING, "Stored", told, end="Complete", **_progress(run))
    told = "; ".join(f"{each.name}: {each.message}" for each in failed)
    return Step(MAKING, _reason(failed[0]), told, end="Failed", **_progress(run))


def _reason(target: RunTargetFacts) -> str:
    """The server's texts begin with the reason."""
    word = (target.message or "").partition(":")[0]
    return word if word.isalpha() else "BackupFailed"


def _progress(run: BackupRunFacts) -> dict[str, Any]:
    stored = sum(each.state == "Stored" for each in run.targets)
    return {"done": stored, "total": len(run.targets), "record": _record(run)}


def _record(run: BackupRunFacts | None) -> dict[str, Any]:
    """Member `observed` of the status: name and digest of the archive, and where it was read back from."""
    if run is None:
        return {}
    told: dict[str, Any] = {"targets": [_target(each) for each in run.targets]}
    if run.archive is not None:
        told |= {"archive": run.archive, "generation": run.generation}
    if run.state == "Complete" and run.finished_at is not None:
        told["verifiedAt"] = timestamp(run.finished_at)
    return told


def _target(target: RunTargetFacts) -> dict[str, Any]:
    return {name: value for name, value in target.model_dump().items() if value is not None}


def preview(situation: Situation) -> Plan:
    """For `ropctl plan`."""
    document = situation.document
    hindrance = problem(situation)
    if hindrance is not None:
        return Plan(findings=(hindrance,))
    if ended(document) is not None or document.deleting is not None or situation.kept or situation.spec.abort:
        return Plan()
    order = order_of(situation)
    backup = situation.server_document.spec.get("backup") if situation.server_document is not None else None
    if backup is None:
        told = "the RopServer has no spec.backup; unless its server has a policy, this waits for one"
        return Plan((order,), findings=(Finding("Warning", "PolicyUnknown", told),))
    return Plan((order,))
