"""What is stored where: outcomes of deliveries, archives found, problems; changes are told as events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from rop_data.archive import shelf
from rop_data.archive.create import Made, prefix_of
from rop_data.archive.errors import ArchiveError
from rop_data.archive.items import SIGNER
from rop_data.archive.manifest import digest
from rop_data.archive.policy import BackupPolicy
from rop_data.archive.target import DirectoryTarget, Target
from rop_data.layout import DataDir
from rop_pki.signer import Signer
from rop_server.backup.record import PENDING, Archive, Problem, Run, TargetRecord, load

log = structlog.get_logger("rop.backup")

FILE = "archive/backups.json"
Failure = ArchiveError | OSError


def words(failure: Failure) -> tuple[str, str]:
    """Reason and text of a failure."""
    if isinstance(failure, ArchiveError):
        return failure.reason.value, str(failure)
    reason = "DataNotReadable"
    return reason, f"{reason}: {failure.strerror or type(failure).__name__}"


def utc(at: float) -> str:
    """Epoch seconds as text."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


class Stock:
    """Keeps the record of a directory. `note` records an event, `wall` is the clock."""

    def __init__(
        self, directory: DataDir, note: Callable[[str, dict[str, Any]], None], wall: Callable[[], float]
    ) -> None:
        self._directory = directory
        self._note = note
        self._wall = wall
        self.record = load(directory.root / FILE)
        # Why the directory itself cannot be archived now.
        self.problem: Problem | None = None
        # Generation of the present keys, None while they are in no archive.
        self.generation: int | None = None
        self._told: bool | None = None

    @property
    def signer(self) -> str | None:
        """The name of this site's signer, None before the first archive."""
        try:
            return Signer((self._directory.root / SIGNER).read_bytes()).name
        except FileNotFoundError:
            return None

    def match(self, policy: BackupPolicy) -> None:
        """Forget targets that are gone, and what is known of one that is another place now."""
        wanted = {place.name: place.shown for place in policy.targets}
        for name, known in list(self.record.targets.items()):
            if wanted.get(name) != known.place:
                del self.record.targets[name]
        for name, shown in wanted.items():
            self.record.targets.setdefault(name, TargetRecord(shown))

    # -- outcomes ---------------------------------------------------------------------------------

    def stored(self, target: str, made: Made, runs: Sequence[Run]) -> None:
        """An archive was stored and read back."""
        now, header = self._wall(), made.header
        known = self.record.targets.get(target)
        if known is None:  # the policy has changed meanwhile
            self._answer(runs, target, "TargetUnknown: the policy has changed")
            return
        created = header.created_at.timestamp()
        known.add(
            Archive(
                made.name, header.generation, created, len(made.data), header.retain, now, critical=made.critical
            )
        )
        known.attempt_at, known.failures, known.problem = now, 0, None
        self.record.latest = created
        for run in runs:
            run.archive, run.generation = made.name, header.generation
            run.digests[target] = digest(made.data)
        self._answer(runs, target, "")
        self._note("backup.stored", {"target": target, "archive": made.name, "generation": header.generation})
        log.info("backup", message="stored", target=target, archive=made.name, size=len(made.data))

    def failed(self, target: str, failure: Failure, runs: Sequence[Run]) -> None:
        """An attempt failed."""
        reason, text = words(failure)
        known = self.record.targets.get(target)
        if known is not None:
            known.attempt_at, known.failures = self._wall(), known.failures + 1
            self.hurt(target, failure)
        self._answer(runs, target, text if text.startswith(reason) else f"{reason}: {text}")

    def hurt(self, target: str, failure: Failure) -> None:
        """A target has a problem; told when it is another one than before."""
        known, (reason, text) = self.record.targets[target], words(failure)
        known.problem = self._problem(target, known.problem, reason, text)

    def impossible(self, failure: Failure | None) -> None:
        """The directory cannot be archived, or None: it can."""
        self.problem = None if failure is None else self._problem(None, self.problem, *words(failure))

    def _problem(self, target: str | None, before: Problem | None, reason: str, text: str) -> Problem:
        if before is not None and before.reason == reason:
            return Problem(reason, text, before.since)
        self._note("backup.problem", {"target": target, "reason": reason})
        log.error("backup", message="nok", target=target, reason=reason, text=text)
        return Problem(reason, text, self._wall())

    def refuse(self, told: str, known: Sequence[str] = ()) -> None:
        """End what waits for targets other than these."""
        for run in list(self.record.runs.values()):
            for name, outcome in list(run.outcomes.items()):
                if outcome is None and name not in known:
                    self._answer([run], name, told)

    def _answer(self, runs: Sequence[Run], target: str, outcome: str) -> None:
        for run in runs:
            run.outcomes[target] = outcome
            if run.state != PENDING and run.finished_at is None:
                run.finished_at = self._wall()
                self._note("backup.run", {"id": run.id, "state": run.state})

    # -- what targets have ------------------------------------------------------------------------

    def compare(self, target: str, listed: dict[str, int], found: shelf.Shelved | None) -> None:
        """What is known against the sizes that a target lists. `found`: its newest one, if it was not known."""
        known = self.record.targets.get(target)
        if known is None:
            return
        kept = [each for each in known.archives if listed.get(each.name) == each.size]
        lost = len(known.archives) - len(kept)
        known.archives = kept
        if found is not None:
            self.adopt(target, found)
        if lost:
            self._note("backup.vanished", {"target": target, "archives": lost})
            log.error("backup", message="archives vanished", target=target, archives=lost)
        if known.failures == 0:
            known.problem = None

    def adopt(self, target: str, found: shelf.Shelved) -> Archive | None:
        """Note an archive that was found on a target; None when it is not whole or not ours."""
        known, header = self.record.targets.get(target), found.header
        if known is None or header is None or header.signer != self.signer:
            return None
        archive = known.archive(found.name)
        if archive is None:
            created = header.created_at.timestamp()
            archive = Archive(found.name, header.generation, created, found.size, header.retain, self._wall())
            newer = [each for each in known.archives if each.created > created]
            for each in (archive, *newer):  # the order is that of making
                known.add(each)
        return archive

    def proven(self, target: str, name: str) -> None:
        """A drill opened an archive."""
        self._note("backup.proven", {"target": target, "archive": name})

    def forget(self, target: str, name: str) -> None:
        """An archive turned out not to be whole, or is gone."""
        known = self.record.targets.get(target)
        if known is not None:
            known.archives = [each for each in known.archives if each.name != name]

    # -- what it tells ----------------------------------------------------------------------------

    def covered(self, target: str | None = None) -> bool:
        """Whether the present keys are in an archive that was read back: on this target, or on any."""
        targets = self.record.targets.items()
        return any(known.covers(self.generation) for name, known in targets if target in (None, name))

    def tell_covered(self) -> None:
        """An event when it became true or false."""
        covered = self.covered()
        if covered != self._told:
            if covered or self._told is not None:
                self._note("backup.covered", {"covered": covered, "generation": self.generation})
            self._told = covered

    def save(self) -> None:
        """Write the record. Raises OSError."""
        self.record.save(self._directory.root / FILE)

    def keep(self) -> None:
        """Write the record if it can be written; otherwise a survey finds out again."""
        try:
            self.save()
        except OSError as failure:
            log.error("backup-record", message="nok", reason=failure.strerror)


def survey(target: Target, signer: str, known: set[str]) -> tuple[dict[str, int], shelf.Shelved | None]:
    """Sizes by name on a target, and its newest archive unless it is known. Half-written files go."""
    prefix = prefix_of(signer)
    if isinstance(target, DirectoryTarget):
        target.sweep(prefix)
    listed = {each.name: each for each in target.names(prefix)}
    labels = sorted(filter(None, map(shelf.label, listed)))
    newest = labels[-1].name if labels else None
    found = None if newest is None or newest in known else shelf.look(target, listed[newest])
    return {name: each.size for name, each in listed.items()}, found
