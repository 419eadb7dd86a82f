"""The procedure of a RecoveryDrill: a drill camera, an archive that knows it, then the drill itself, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rop_operator.api.backup import BackupTarget
from rop_operator.api.drill import RecoveryDrillSpec
from rop_operator.api.durations import parse_duration
from rop_operator.api.facts import BackupRunFacts, Document, DrillCamera, DrillRun
from rop_operator.api.server import RopServerSpec
from rop_operator.domain.conditions import Condition, previous
from rop_operator.domain.operation import PENDING, Situation, Step, ended, problem, server_spec_of
from rop_operator.domain.plan import EnrolDrillCamera, Finding, MakeArchive, Plan, StartDrill, StopDrill
from rop_operator.domain.snapshot import ServerSnapshot

DRILLING = "Drilling"
LOOK_AGAIN = 2.0
MARGIN = timedelta(minutes=1)
NO_DRILLS = (
    "here only beside servers that are processes of the agent; elsewhere by the unit rop-drill@ or rop-drill run"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """`possible`: drills can run here. `camera` and `run` None: there is none yet. `archive`: the archive that was
    asked for so that it knows the camera. `keys`: what the camera depends on now, None while the server is away.
    """

    possible: bool = True
    camera: DrillCamera | None = None
    run: DrillRun | None = None
    archive: BackupRunFacts | None = None
    keys: str | None = None


def drill(situation: Situation) -> Step:
    """The next step of this RecoveryDrill."""
    seen: Seen = situation.seen or Seen()
    spec: RecoveryDrillSpec = situation.spec
    if not seen.possible:
        return Step(PENDING, "NotSupported", NO_DRILLS, end="Failed")
    if seen.run is not None and seen.run.state != "Running":
        return _judged(seen.run, spec.abort)
    if spec.abort:
        return _aborted(situation, seen)
    if seen.run is not None:
        return Step(DRILLING, DRILLING, seen.run.step or "begins", wait=LOOK_AGAIN)
    return _next(situation, seen, spec)


def _aborted(situation: Situation, seen: Seen) -> Step:
    if seen.run is None:
        return Step("Aborting", "Aborted", "no drill was begun", end="Failed")
    return Step("Aborting", "Aborting", "the drill is stopped", (StopDrill(situation.document.uid),), LOOK_AGAIN)


def _next(situation: Situation, seen: Seen, spec: RecoveryDrillSpec) -> Step:
    server = server_spec_of(situation)
    found = _missing(server, spec)
    if isinstance(found, Finding):
        return Step(PENDING, found.reason, found.message, held=True)
    camera, uid = seen.camera, situation.document.uid
    if camera is None or seen.keys not in (None, camera.keys):
        order = EnrolDrillCamera(seen.keys or "", replace=camera is not None)
        return Step("Enrolling", "Enrolling", "a drill camera is enrolled", (order,), LOOK_AGAIN)
    if not _known(situation, seen, found.name):
        return _archived(situation, seen, found.name)
    age = spec.max_archive_age or (server.drill.max_archive_age if server and server.drill else None)
    seconds = None if age is None else parse_duration(age)
    start = StartDrill(uid, found.name, parse_duration(spec.timeout), seconds)
    return Step(DRILLING, DRILLING, "begins", (start,), LOOK_AGAIN)


def _missing(server: RopServerSpec | None, spec: RecoveryDrillSpec) -> BackupTarget | Finding:
    """The target of this drill, or what has to be written first."""
    if server is None or server.drill is None:
        text = "write spec.drill of the RopServer: identityRef names the identity that opens its archives"
        return Finding("Warning", "DrillNotConfigured", text)
    targets = server.backup.targets if server.backup is not None else []
    names = [each.name for each in targets]
    wanted = spec.target_name or (names[0] if len(names) == 1 else None)
    found = next((each for each in targets if each.name == wanted), None)
    if found is None:
        known = f"it has {', '.join(names)}" if names else "it has none"
        text = f"spec.backup of the RopServer has no target {wanted or '(name one in targetName)'}; {known}"
        return Finding("Warning", "TargetUnknown", text)
    return found


def _known(situation: Situation, seen: Seen, target: str) -> bool:
    """Whether an archive was stored there since the drill camera was enrolled; of a dead server: what there is."""
    facts = situation.server
    if seen.camera is None or seen.camera.used:
        return True
    if facts is None or not facts.reachable or facts.backup is None:
        return True
    stored = next((each.stored for each in facts.backup.targets if each.name == target), None)
    at = stored.stored_at if stored is not None else None
    # Stored at once after the enrolment it may have been made before.
    if at is not None and at - seen.camera.enrolled_at > MARGIN:
        return True
    return seen.archive is not None and seen.archive.state == "Complete"


def archive_id(uid: str) -> str:
    """Id of the archive that a drill asks for."""
    return f"drill-{uid}"


def _archived(situation: Situation, seen: Seen, target: str) -> Step:
    if seen.archive is None:
        order = MakeArchive(archive_id(situation.document.uid), (target,))
        return Step("Archiving", "Making", "an archive that knows the drill camera", (order,), LOOK_AGAIN)
    if seen.archive.state == "Failed":
        told = "; ".join(f"{each.name}: {each.message}" for each in seen.archive.targets)
        return Step("Archiving", "BackupFailed", told, end="Failed")
    return Step("Archiving", "Making", "an archive that knows the drill camera", wait=LOOK_AGAIN)


def _judged(run: DrillRun, aborted: bool) -> Step:
    report = run.report
    if aborted and (report is None or report.result != "Passed"):
        return Step("Aborting", "Aborted", "the drill was stopped", end="Failed", record=_record(run))
    if report is None:
        told = run.message or "the drill ended without a report; this host was restarted, or it was killed"
        return Step(DRILLING, "Interrupted", f"{told}; make another document", end="Failed")
    if report.result == "Passed":
        told = f"{report.archive} serves cameras; online after {report.rto_seconds or 0:.0f} s"
        return Step(DRILLING, "Passed", told, end="Complete", record=_record(run))
    return Step(DRILLING, report.reason or "DrillFailed", report.message, end="Failed", record=_record(run))


def _record(run: DrillRun) -> Mapping[str, Any]:
    """Member `observed` of the status: result, RTO and RPO in seconds, archive, report."""
    if run.report is None:
        return {}
    told = run.report.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"message"})
    return {**told, **({"file": run.file} if run.file else {})}


def drill_condition(snapshot: ServerSnapshot) -> Condition | None:
    """DrillPassed of a RopServer: what its newest drill that ended said. None: it has none, and asks for none."""
    judged = [d for d in snapshot.drills if _verdict(d) is not None]
    if not judged:
        asked = snapshot.parsed is not None and snapshot.spec.drill is not None
        told = "no drill has ended yet; ropctl drill run"
        return Condition("DrillPassed", "Unknown", "NeverDrilled", told) if asked else None
    newest = max(judged, key=lambda each: str(each.status.get("completedAt") or ""))
    verdict = _verdict(newest) or {}
    told = f"{newest.ref.name}: {verdict.get('message')}"
    passed = verdict.get("type") == "Complete"
    return Condition("DrillPassed", "True" if passed else "False", str(verdict.get("reason")), told)


def _verdict(document: Document) -> Mapping[str, Any] | None:
    """The condition of its end; None while it runs, and of one that was given up."""
    end = ended(document)
    told = previous(document.status, end) if end is not None else {}
    return told if told and told.get("reason") not in ("Aborted", "NotSupported") else None


def preview(situation: Situation) -> Plan:
    """For `ropctl plan`."""
    document = situation.document
    hindrance = problem(situation)
    if hindrance is not None:
        return Plan(findings=(hindrance,))
    if ended(document) is not None or document.deleting is not None or situation.kept or situation.spec.abort:
        return Plan()
    found = _missing(server_spec_of(situation), situation.spec)
    if isinstance(found, Finding):
        return Plan(findings=(found,))
    spec: RecoveryDrillSpec = situation.spec
    return Plan((StartDrill(document.uid, found.name, parse_duration(spec.timeout), None),))
