"""What is known of targets, archives and runs, in `DIR/archive/backups.json`. Losing the file loses no archive:
the targets are read again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog

from rop_data import atomic

log = structlog.get_logger("rop.backup")

FORMAT_VERSION = 1
MAX_ARCHIVES = 64
MAX_RUNS = 200
PENDING, COMPLETE, FAILED = "Pending", "Complete", "Failed"
STORED, PROVEN = "Stored", "Proven"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something did not work: a condition reason, a text without secrets, epoch seconds of the first time."""

    reason: str
    message: str
    since: float


@dataclass(slots=True)
class Archive:
    """An archive that was read back from its target and whose signature holds. Times are epoch seconds.

    `critical` is the digest of what it holds (None: not made by this process's memory, found on the target).
    """

    name: str
    generation: int
    created: float
    size: int
    retain: str
    stored_at: float
    critical: str | None = None
    proven_at: float | None = None

    @property
    def state(self) -> str:
        """`Stored`, or `Proven` once a drill opened it."""
        return STORED if self.proven_at is None else PROVEN


@dataclass(slots=True)
class TargetRecord:
    """One target. `archives` in the order in which they were stored; `failures` in a row."""

    place: str
    archives: list[Archive] = field(default_factory=list)
    attempt_at: float | None = None
    failures: int = 0
    problem: Problem | None = None

    @property
    def last(self) -> Archive | None:
        """What was stored last."""
        return self.archives[-1] if self.archives else None

    def archive(self, name: str) -> Archive | None:
        """The archive of this name."""
        return next((each for each in self.archives if each.name == name), None)

    def covers(self, generation: int | None) -> bool:
        """Whether the keys of this generation are in a stored archive."""
        return generation is not None and any(each.generation == generation for each in self.archives)

    def add(self, archive: Archive) -> None:
        """A stored archive; of many, the newest stay known, and the last one of each generation."""
        self.archives = [each for each in self.archives if each.name != archive.name] + [archive]
        newest = {each.generation: each.name for each in self.archives}
        spare = len(self.archives) - MAX_ARCHIVES
        self.archives = [
            each
            for number, each in enumerate(self.archives)
            if number >= spare or newest[each.generation] == each.name
        ]


@dataclass(slots=True)
class Run:
    """An archive somebody asked for. `outcomes` by target: None while it waits, "" when stored, else why not.

    `digests`: SHA-256 of the bytes that were read back, by target.
    """

    id: str
    targets: list[str]
    retain: str
    requested_at: float
    outcomes: dict[str, str | None]
    archive: str | None = None
    generation: int | None = None
    finished_at: float | None = None
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """`Pending`, `Complete` (stored on every target) or `Failed`."""
        if any(told is None for told in self.outcomes.values()):
            return PENDING
        return FAILED if any(self.outcomes.values()) else COMPLETE

    def waits_for(self, target: str) -> bool:
        """Whether an archive for this target is still to be made."""
        return target in self.outcomes and self.outcomes[target] is None


@dataclass(slots=True)
class Record:
    """All of it. `latest`: the latest time at which an archive was made, epoch seconds."""

    latest: float = 0.0
    targets: dict[str, TargetRecord] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The file's bytes."""
        return json.dumps({"formatVersion": FORMAT_VERSION, **asdict(self)}, indent=1).encode() + b"\n"

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises OSError."""
        done = [each.id for each in self.runs.values() if each.state != PENDING]
        for id_ in done[: max(0, len(self.runs) - MAX_RUNS)]:
            del self.runs[id_]
        atomic.make_directory(path.parent)
        atomic.write(path, self.encode())


def load(path: Path) -> Record:
    """Read the file; one that is missing or cannot be read is an empty record."""
    try:
        raw = json.loads(path.read_bytes())
        if raw["formatVersion"] != FORMAT_VERSION:
            raise ValueError("of another program version")
        targets = {name: _target(each) for name, each in raw["targets"].items()}
        return Record(float(raw["latest"]), targets, {id_: Run(**each) for id_, each in raw["runs"].items()})
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as failure:
        log.error("backup-record", message="nok", reason=type(failure).__name__)
        return Record()


def _target(raw: dict[str, Any]) -> TargetRecord:
    problem = raw["problem"]
    return TargetRecord(
        raw["place"],
        [Archive(**each) for each in raw["archives"]],
        raw["attempt_at"],
        int(raw["failures"]),
        None if problem is None else Problem(**problem),
    )
