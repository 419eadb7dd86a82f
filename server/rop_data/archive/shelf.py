"""Archives in a folder: list, and prune without ever losing the last good one of a generation."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from rop_data import atomic
from rop_data.archive.create import SUFFIX, load
from rop_data.archive.errors import ArchiveError, Reason
from rop_data.archive.manifest import Header


@dataclass(frozen=True, slots=True)
class Shelved:
    """An archive file. `header` is None, and `problem` says why, when it is not whole."""

    path: Path
    size: int
    header: Header | None
    problem: str | None


def shelve(folder: Path) -> list[Shelved]:
    """Every archive of a folder, newest first, broken ones last. Raises ArchiveError when there is no folder."""
    if not folder.is_dir():
        raise ArchiveError(Reason.TARGET, f"{folder} is not a directory")
    found = [_look(path) for path in sorted(folder.glob(f"*{SUFFIX}")) if path.is_file()]
    whole = [each for each in found if each.header is not None]
    whole.sort(key=_age, reverse=True)
    return [*whole, *(each for each in found if each.header is None)]


def _look(path: Path) -> Shelved:
    try:
        size = path.stat().st_size
        return Shelved(path, size, load(path).header, None)
    except (ArchiveError, OSError) as failure:
        return Shelved(path, 0, None, str(failure))


def _age(each: Shelved) -> tuple[datetime, str]:
    assert each.header is not None
    return each.header.created_at, each.path.name


def doomed(archives: list[Shelved], keep_last: int, keep_days: int, now: datetime) -> list[Shelved]:
    """What `prune` deletes: per site and key generation, all beyond the newest `keep_last` (at least one) that are
    older than `keep_days`. Broken files are never counted and never deleted: somebody should look at them.
    """
    groups: dict[tuple[str, str, int], list[Shelved]] = defaultdict(list)
    for each in archives:
        if each.header is not None:
            groups[each.header.signer, each.header.instance_id, each.header.generation].append(each)
    limit = now - timedelta(days=keep_days)
    gone = []
    for group in groups.values():
        group.sort(key=_age, reverse=True)
        gone += [each for each in group[max(keep_last, 1) :] if _age(each)[0] < limit]
    return gone


def prune(folder: Path, keep_last: int, keep_days: int, now: datetime) -> list[Path]:
    """Delete what `doomed` names; returns what was deleted."""
    gone = [each.path for each in doomed(shelve(folder), keep_last, keep_days, now)]
    for path in gone:
        path.unlink()
    if gone:
        atomic.sync_directory(folder)
    return gone
