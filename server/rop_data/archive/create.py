"""Making an archive of a data directory, locked or running, and reading it back."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from rop_data import atomic
from rop_data.archive import container
from rop_data.archive.container import Container
from rop_data.archive.critical import critical_digest
from rop_data.archive.errors import ArchiveError, Reason
from rop_data.archive.items import (
    LEDGER,
    SIGNER,
    Include,
    Items,
    collect,
    identify,
    keys_digest,
    kind,
)
from rop_data.archive.manifest import BY_POLICY, Header, Recipient, check_recipients, digest
from rop_data.archive.target import SUFFIX, DirectoryTarget, Target
from rop_data.layout import DataDir, LockedError
from rop_pki import inspect
from rop_pki.envelope import seal
from rop_pki.signer import Signer, create_signer

_ATTEMPTS = 5


@contextmanager
def _alone(directory: DataDir) -> Iterator[None]:
    """One archive at a time. Apart from the server's lock: an archive is made beside a running server."""
    folder = (directory.root / SIGNER).parent
    atomic.make_directory(folder)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(f"another archive of {directory.root} is being made") from None
        yield
    finally:
        os.close(descriptor)


def _ensure_signer(directory: DataDir) -> None:
    signer, ledger = directory.root / SIGNER, directory.root / LEDGER
    if not signer.is_file():
        if ledger.is_file():
            raise ArchiveError(Reason.ITEM_MISSING, f"{SIGNER}: it is lost; restore it from an archive")
        atomic.write(signer, create_signer())
    if not ledger.is_file():
        atomic.write(ledger, _ledger(0, ""))


def site_signer(directory: DataDir) -> Signer:
    """What signs for this site, made when there was none. Raises ArchiveError, LockedError, OSError."""
    with _alone(directory):
        _ensure_signer(directory)
        return Signer((directory.root / SIGNER).read_bytes())


def _ledger(generation: int, keys: str) -> bytes:
    return (json.dumps({"generation": generation, "keys": keys}) + "\n").encode()


def _advance(directory: DataDir, items: Items) -> tuple[Items, int]:
    """Count a new generation when a key changed since the last archive."""
    keys = keys_digest(items.files)
    try:
        known = json.loads(items.files[LEDGER])
        generation, last = int(known["generation"]), known["keys"]
    except (ValueError, KeyError, TypeError):
        raise ArchiveError(Reason.ITEM_INVALID, f"{LEDGER} cannot be read") from None
    if last == keys:
        return items, generation
    data = _ledger(generation + 1, keys)
    atomic.write(directory.root / LEDGER, data)
    return replace(items, files={**items.files, LEDGER: data}), generation + 1


def _collect_steady(directory: DataDir, includes: Sequence[Include]) -> Items:
    """The items as they were at one moment: read again until nothing but the databases has changed."""
    before = collect(directory, includes)
    for _ in range(_ATTEMPTS):
        after = collect(directory, includes)
        steady = [name for name in {*before.files, *after.files} if not name.endswith(".db")]
        if before.root_key == after.root_key and all(before.files.get(n) == after.files.get(n) for n in steady):
            return after
        before = after
    raise ArchiveError(Reason.ITEM_INVALID, "the keys keep changing; try again later")


@dataclass(frozen=True, slots=True)
class Made:
    """An archive, not stored yet. `critical`: digest of what is inside, see `critical_digest`."""

    name: str
    data: bytes = field(repr=False)
    header: Header
    critical: str


def make(
    directory: DataDir,
    recipients: tuple[Recipient, ...],
    single: str | None,
    now: datetime,
    includes: Sequence[Include] = (),
    retain: str = BY_POLICY,
) -> Made:
    """An archive of the directory. Raises ArchiveError, LockedError (another one is being made) and OSError."""
    check_recipients(recipients, single)
    if not directory.config.is_file():
        raise ArchiveError(Reason.ITEM_MISSING, "config.json")
    with _alone(directory):
        _ensure_signer(directory)
        items, generation = _advance(directory, _collect_steady(directory, includes))
        _check_clock(items, now)
        data, header = _encode(items, generation, recipients, now, retain)
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"{prefix_of(header.signer)}g{generation:04d}-{stamp}{SUFFIX}"
    return Made(name, data, header, critical_digest(items.files, items.root_key))


def prefix_of(signer: str) -> str:
    """How the names of a site's archives begin; a site keeps its signer over every rotation."""
    return f"rop-{signer[:8]}-"


def deposit(target: Target, made: Made) -> None:
    """Store an archive and read it back: it counts when this returns. Raises ArchiveError."""
    target.put(made.name, made.data)
    if target.get(made.name) != made.data:
        raise ArchiveError(Reason.READ_BACK, f"{made.name} was not read back as written")
    container.read(made.data)


def create(
    directory: DataDir,
    target: Path,
    recipients: tuple[Recipient, ...],
    single: str | None,
    now: datetime,
    includes: Sequence[Include] = (),
) -> tuple[Path, Header]:
    """Write an archive into the folder `target`, read it back and verify it. Nothing is overwritten.

    Raises ArchiveError, LockedError and OSError; no archive of that name appears then.
    """
    check_place(directory, target)
    made = make(directory, recipients, single, now, includes)
    deposit(DirectoryTarget(target), made)
    return target / made.name, made.header


def check_place(directory: DataDir, target: Path) -> None:
    """Raise ArchiveError unless archives may lie in this folder."""
    if not target.is_dir():
        raise ArchiveError(Reason.TARGET, f"{target} is not a directory")
    if target.resolve().is_relative_to(directory.root.resolve()):
        raise ArchiveError(Reason.TARGET, f"{target} lies in the data directory; what burns it burns the archives")


def _check_clock(items: Items, now: datetime) -> None:
    """Nothing is signed at a time before the root CA was made."""
    path = next((name for name in items.files if kind(name) == "rootCertificate"), None)
    if path is not None and now < inspect(items.files[path]).not_before:
        raise ArchiveError(Reason.CLOCK, f"the clock says {now:%Y-%m-%d}, before the root CA was made")


def _encode(
    items: Items, generation: int, recipients: tuple[Recipient, ...], now: datetime, retain: str
) -> tuple[bytes, Header]:
    identity = identify(items)
    assert items.root_key is not None
    plain, listed = container.pack(items, generation)
    body = seal(plain, [each.key for each in recipients])
    root_key = seal(items.root_key, [each.key for each in recipients if each.scope == "All"])
    header = Header(
        identity.instance_id,
        identity.root_sha256,
        identity.signer,
        generation,
        now.astimezone(UTC).isoformat(timespec="seconds"),
        digest(body),
        len(body),
        digest(root_key),
        len(root_key),
        digest(listed),
        recipients,
        retain,
    )
    return container.write(header, Signer(items.files[SIGNER]), body, root_key), header


def load(path: Path) -> Container:
    """Read and verify an archive file without a key. Raises ArchiveError and OSError."""
    return container.read(path.read_bytes())
