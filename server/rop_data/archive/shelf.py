"""Archives on a target: list, and prune without ever losing the last good one of a key generation."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rop_data.archive import container
from rop_data.archive.create import prefix_of
from rop_data.archive.errors import ArchiveError
from rop_data.archive.manifest import FOREVER, Header
from rop_data.archive.target import SUFFIX, Listed, Target

_NAME = re.compile(rf"(rop-[0-9a-f]{{8}}-)g([0-9]{{4,}})-([0-9]{{8}}T[0-9]{{6}}Z){re.escape(SUFFIX)}")


@dataclass(frozen=True, slots=True)
class Shelved:
    """An archive on a target. `header` is None, and `problem` says why, when it is not whole."""

    name: str
    size: int
    header: Header | None
    problem: str | None


@dataclass(frozen=True, slots=True, order=True)
class Label:
    """What the name of an archive says."""

    made: datetime
    name: str
    prefix: str
    generation: int


def label(name: str) -> Label | None:
    """What a name says, None for a name of another form."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    made = datetime.strptime(found[3], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return Label(made, name, found[1], int(found[2]))


def look(target: Target, each: Listed) -> Shelved:
    """Read one archive and verify it without a key."""
    try:
        return Shelved(each.name, each.size, container.read(target.get(each.name)).header, None)
    except ArchiveError as failure:
        return Shelved(each.name, each.size, None, str(failure))


def shelve(target: Target, prefix: str = "") -> list[Shelved]:
    """Every archive whose name begins so, newest first, broken ones last. Raises ArchiveError."""
    found = [look(target, each) for each in target.names(prefix)]
    whole = [each for each in found if each.header is not None]
    whole.sort(key=_age, reverse=True)
    return [*whole, *(each for each in found if each.header is None)]


def _age(each: Shelved) -> tuple[datetime, str]:
    assert each.header is not None
    return each.header.created_at, each.name


def doomed(target: Target, keep_last: int, keep_days: int, now: datetime, prefix: str = "") -> Iterator[str]:
    """What `prune` deletes: per site and key generation, all beyond the newest `keep_last` whole ones (one at
    least) that are older than `keep_days`. Never: archives kept forever, broken ones (somebody should look at
    them), and files with names of another form. Only what must be read is read.
    """
    groups: dict[tuple[str, int], list[Label]] = defaultdict(list)
    sizes = {each.name: each for each in target.names(prefix)}
    for each in filter(None, map(label, sizes)):
        groups[each.prefix, each.generation].append(each)
    limit = now - timedelta(days=keep_days)
    for group in groups.values():
        kept = 0
        for each in sorted(group, reverse=True):
            if kept >= max(keep_last, 1) and each.made >= limit:
                continue
            header = look(target, sizes[each.name]).header
            if header is None or header.retain == FOREVER or not _matches(each, header):
                continue
            if kept < max(keep_last, 1):
                kept += 1
            elif header.created_at < limit:
                yield each.name


def _matches(name: Label, header: Header) -> bool:
    return (name.prefix, name.generation, name.made) == (
        prefix_of(header.signer),
        header.generation,
        header.created_at,
    )


def prune(target: Target, keep_last: int, keep_days: int, now: datetime, prefix: str = "") -> list[str]:
    """Delete what `doomed` names; returns what was deleted."""
    gone = list(doomed(target, keep_last, keep_days, now, prefix))
    for name in gone:
        target.remove(name)
    return gone
