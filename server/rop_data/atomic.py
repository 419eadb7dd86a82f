"""Files that are there whole or not at all, also after a power cut."""

import ctypes
import os
import tempfile
from contextlib import suppress
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file: temporary file in the same directory, fsync, rename, fsync of the directory."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    sync_directory(path.parent)


def restrict(path: Path) -> None:
    """Take a file away from group and others, when it is there and they have it."""
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if mode & 0o077:
            path.chmod(mode & 0o700)


def sweep(directory: Path) -> None:
    """Remove temporary files that a killed `write` left in a directory."""
    for left in directory.glob(".*.new"):
        if left.is_file():
            left.unlink(missing_ok=True)


def make_directory(path: Path, mode: int = 0o700) -> None:
    """Make a directory and its parents; an existing one keeps its mode."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing):
        with suppress(FileExistsError):
            each.mkdir(mode=mode)
        sync_directory(each.parent)


def exchange(one: Path, other: Path) -> None:
    """Two folders of one parent change places in one step (Linux: renameat2), durably. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = [ctypes.c_char_p(os.fsencode(path)) for path in (one, other)]
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)):
        reason = os.strerror(ctypes.get_errno())
        raise OSError(
            ctypes.get_errno(), f"two folders cannot be exchanged on this file system: {reason}", str(one)
        )
    sync_directory(one.parent)
