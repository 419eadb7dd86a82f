"""Restoring an archive: everything is checked first, then a complete folder gets its name."""

import glob
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rop_data import atomic
from rop_data.archive.container import Container, Opened, unpack
from rop_data.archive.create import load
from rop_data.archive.errors import ArchiveError, Reason
from rop_data.archive.items import root_key_files
from rop_data.archive.shelf import shelve
from rop_data.archive.target import DirectoryTarget
from rop_pki.envelope import Identities


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the archive must be. `signer` and `root_sha256` stand on the recovery sheet; `accept_generation` is the
    generation that may be restored although a newer one lies beside it.
    """

    signer: str | None
    root_sha256: str | None
    accept_generation: int | None = None


def _trust(container: Container, expected: Expectation) -> None:
    header = container.header
    hint = "compare with the recovery sheet: anyone can make an archive that you can decrypt"
    if expected.signer is None or expected.root_sha256 is None:
        raise ArchiveError(
            Reason.FOREIGN_SIGNER,
            f"no expected signer and root were given; the archive says signer {header.signer}, root"
            f" {header.root_sha256} ({hint})",
        )
    if header.signer != expected.signer.lower():
        raise ArchiveError(Reason.FOREIGN_SIGNER, f"signed by {header.signer}; {hint}")
    if header.root_sha256 != expected.root_sha256.lower().replace(":", ""):
        raise ArchiveError(Reason.FOREIGN_ROOT, f"the archive's root is {header.root_sha256}; {hint}")


def _newest(path: Path, container: Container, accepted: int | None) -> None:
    """Keys that were replaced must not come back unnoticed."""
    own = container.header
    siblings = (each.header for each in shelve(DirectoryTarget(path.parent)))
    newer = [h.generation for h in siblings if h and h.signer == own.signer and h.generation > own.generation]
    if newer and accepted != own.generation:
        raise ArchiveError(
            Reason.STALE,
            f"generation {own.generation} is older than generation {max(newer)} in the same folder"
            f" (--accept-generation {own.generation} restores it all the same)",
        )


def examine(path: Path, identities: Identities, expected: Expectation) -> Opened:
    """Read, trust, decrypt and check an archive. Raises ArchiveError and OSError."""
    container = load(path)
    _trust(container, expected)
    _newest(path, container, expected.accept_generation)
    return unpack(container, identities)


def _check_target(target: Path) -> None:
    if target.is_mount():
        raise ArchiveError(Reason.TARGET, f"{target} is a mount point; name a folder below it")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ArchiveError(Reason.TARGET, f"{target} is not a directory")
    if target.is_dir() and any(target.iterdir()):
        raise ArchiveError(Reason.TARGET, f"{target} is not empty; nothing was changed")
    if not target.parent.is_dir():
        raise ArchiveError(Reason.TARGET, f"{target.parent} is not a directory")


def restore(
    path: Path, target: Path, identities: Identities, expected: Expectation, without_root_key: bool = False
) -> Opened:
    """Restore into an empty or absent directory. Raises ArchiveError and OSError; nothing has changed then.

    `without_root_key` accepts an identity that does not open the root's key: it serves, but makes no L2 CA.
    """
    target = target.absolute()
    _check_target(target)
    opened = examine(path, identities, expected)
    if opened.items.root_key is None and not without_root_key:
        raise ArchiveError(
            Reason.DECRYPT_FAILED, "this identity does not open the root's key (--without-root-key accepts that)"
        )
    files = dict(opened.items.files)
    if opened.items.root_key is not None:
        files |= root_key_files(opened.items, opened.identity.root_key_path)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.restore")
    _sweep(target)
    try:
        scratch.mkdir(mode=0o700)
        _fill(scratch, files)
        _appear(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return opened


def _sweep(target: Path) -> None:
    """Remove what a killed restore left: it holds keys."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.restore"):
        holder = left.name.split(".")[-2]
        if holder.isdecimal() and not Path(f"/proc/{holder}").exists():
            shutil.rmtree(left, ignore_errors=True)


def _fill(folder: Path, files: dict[str, bytes]) -> None:
    folders = {folder}
    for name, data in files.items():
        path = folder / name
        for missing in reversed([each for each in path.parents if not each.exists()]):
            missing.mkdir(mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        folders.update(each for each in path.parents if each.is_relative_to(folder))
    _empty_folders(folder)
    for each in sorted(folders, reverse=True):
        atomic.sync_directory(each)


def _empty_folders(folder: Path) -> None:
    """The folders that an OpenSSL CA wants although they may be empty."""
    for authority in list(folder.rglob("ca.pem")):
        if authority.parent.name in ("Root", "E1"):
            for name in ("newcerts", "crl", "certs", "csr", "private"):
                (authority.parent / name).mkdir(mode=0o700, exist_ok=True)


def _appear(scratch: Path, target: Path) -> None:
    """One rename: it replaces an empty directory and fails on anything else."""
    try:
        os.rename(scratch, target)  # noqa: PTH104 - must fail on a non-empty target
    except OSError as failure:
        raise ArchiveError(Reason.TARGET, f"{target}: {failure.strerror}; nothing was changed") from None
    with suppress(OSError):
        atomic.sync_directory(target.parent)
