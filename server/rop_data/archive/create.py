"""Making an archive of a data directory, locked or running, and reading it back."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rop_data import atomic
from rop_data.archive import container
from rop_data.archive.container import Container
from rop_data.archive.errors import ArchiveError, Reason
from rop_data.archive.items import LEDGER, SIGNER, Items, collect, identify, keys_digest
from rop_data.archive.manifest import Header, Recipient, check_recipients, digest
from rop_data.layout import DataDir, LockedError
from rop_pki.envelope import seal
from rop_pki.signer import Signer, create_signer

SUFFIX = ".roparchive"
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


def _collect_steady(directory: DataDir) -> Items:
    """The items as they were at one moment: read again until nothing but the databases has changed."""
    before = collect(directory)
    for _ in range(_ATTEMPTS):
        after = collect(directory)
        steady = [name for name in {*before.files, *after.files} if not name.endswith(".db")]
        if before.root_key == after.root_key and all(before.files.get(n) == after.files.get(n) for n in steady):
            return after
        before = after
    raise ArchiveError(Reason.ITEM_INVALID, "the keys keep changing; try again later")


def create(
    directory: DataDir, target: Path, recipients: tuple[Recipient, ...], single: str | None, now: datetime
) -> tuple[Path, Header]:
    """Write an archive into the folder `target`, read it back and verify it. Nothing is overwritten.

    Raises ArchiveError, LockedError and OSError; no archive of that name appears then.
    """
    check_recipients(recipients, single)
    if not directory.config.is_file():
        raise ArchiveError(Reason.ITEM_MISSING, "config.json")
    if not target.is_dir():
        raise ArchiveError(Reason.TARGET, f"{target} is not a directory")
    if target.resolve().is_relative_to(directory.root.resolve()):
        raise ArchiveError(Reason.TARGET, f"{target} lies in the data directory; what burns it burns the archives")
    with _alone(directory):
        _ensure_signer(directory)
        items, generation = _advance(directory, _collect_steady(directory))
        data, header = _encode(items, generation, recipients, now)
        stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = target / f"rop-{header.root_sha256[:8]}-g{generation:04d}-{stamp}{SUFFIX}"
        _store(path, data)
    return path, header


def _encode(
    items: Items, generation: int, recipients: tuple[Recipient, ...], now: datetime
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
    )
    return container.write(header, Signer(items.files[SIGNER]), body, root_key), header


def _store(path: Path, data: bytes) -> None:
    """Temporary file, fsync, read back, and only then the name; an existing file stays as it is."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            # So that the read below comes from the disk.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if Path(name).read_bytes() != data:
            raise ArchiveError(Reason.READ_BACK, f"{path} was not read back as written")
        container.read(data)
        os.link(name, path)
    except FileExistsError:
        raise ArchiveError(Reason.TARGET, f"{path} exists; nothing was overwritten") from None
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()
    atomic.sync_directory(path.parent)


def load(path: Path) -> Container:
    """Read and verify an archive file without a key. Raises ArchiveError and OSError."""
    return container.read(path.read_bytes())
