"""The firmware folder: files put there by hand or uploaded, each whole or absent.

Source: ROP v1.0 wire specification, client-api 2.3 and 2.14; discrepancies C2.9, C5.6, C5.9.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rop_data import atomic

NAME = re.compile(r"(?!\.)[A-Za-z0-9._ %-]{1,255}")
"""Base names only. The per cent sign is there because clients give names undecoded (`my%20camera.pak`)."""

MAX_FILE = 1024**3
MAX_TOTAL = 8 * 1024**3
MAX_FILES = 1000
# Left for configuration, state and certificates, which matter more than one more file.
MIN_FREE = 64 * 1024**2
_BLOCK = 1024 * 1024


class FirmwareError(Exception):
    """A refusal; `symbol` is one of the symbols of the client API."""

    def __init__(self, symbol: str, detail: str = "") -> None:
        super().__init__(f"{symbol}: {detail}" if detail else symbol)
        self.symbol = symbol
        self.detail = detail


@dataclass(frozen=True, slots=True)
class FirmwareFile:
    """One file: `size` in bytes, `modified` in epoch seconds, `sha256` in hexadecimal digits."""

    name: str
    size: int
    modified: float
    sha256: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the folder: bytes of one file, bytes in all, files, bytes left free on the disk."""

    file: int = MAX_FILE
    total: int = MAX_TOTAL
    files: int = MAX_FILES
    free: int = MIN_FREE


class Upload:
    """A file that is coming in. Its methods touch the disk: call them in a thread, one at a time."""

    def __init__(self, store: FirmwareStore, name: str) -> None:
        self._store = store
        self._name = name
        descriptor, path = tempfile.mkstemp(dir=store.folder, prefix=f".{name[:100]}.", suffix=".new")
        self._file = os.fdopen(descriptor, "wb")
        self._path = Path(path)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """The next bytes. Raises FirmwareError above a limit, OSError."""
        self._store.grow(len(data), self.size)
        self.size += len(data)
        self._hash.update(data)
        self._file.write(data)

    @property
    def sha256(self) -> str:
        """Of what came so far, in hexadecimal digits."""
        return self._hash.hexdigest()

    def finish(self) -> FirmwareFile:
        """Make it durable under its name. Raises FirmwareError("duplicate_firmware")."""
        self._file.flush()
        os.fsync(self._file.fileno())
        target = self._store.folder / self._name
        try:
            target.hardlink_to(self._path)  # unlike a rename, this never replaces a file
        except FileExistsError:
            raise FirmwareError("duplicate_firmware", self._name) from None
        told = target.stat()
        made = FirmwareFile(self._name, told.st_size, told.st_mtime, self.sha256)
        self._store.settle(told, made.sha256)
        return made

    def close(self) -> None:
        """Remove what is left of it; a finished file stays."""
        with suppress(OSError):  # a full disk shows here again
            self._file.close()
        self._path.unlink(missing_ok=True)
        atomic.sync_directory(self._store.folder)
        self._store.release(self.size)


class FirmwareStore:
    """The folder `upgrade.filePath`. Every method but the constructor touches the disk; safe in threads."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder = folder
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._coming = 0
        self._settled = 0
        # Hash by identity of the file: hand-placed files are hashed once, not at each listing.
        self._hashes: dict[tuple[int, int, int, int], str] = {}

    def begin(self, name: str) -> Upload:
        """Begin to receive. Raises FirmwareError: `invalid_filename`, `duplicate_firmware`, a full folder."""
        check_name(name)
        atomic.make_directory(self.folder)
        if os.path.lexists(self.folder / name):
            raise FirmwareError("duplicate_firmware", name)
        sizes = [entry.stat(follow_symlinks=False).st_size for entry in self._entries()]
        if len(sizes) >= self._limits.files:
            raise FirmwareError("invalid_parameter", f"the firmware folder holds {len(sizes)} files already")
        with self._lock:
            self._settled = sum(sizes)
        return Upload(self, name)

    def open(self, name: str) -> BinaryIO:
        """A file for reading. Raises FirmwareError: `file_not_found`."""
        if not NAME.fullmatch(name):
            raise FirmwareError("file_not_found", name)
        try:
            descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            raise FirmwareError("file_not_found", name) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FirmwareError("file_not_found", name)
        return os.fdopen(descriptor, "rb", buffering=0)

    def sha256(self, file: BinaryIO) -> str:
        """Of an open file of the folder, in hexadecimal digits; hashed once while it does not change."""
        told = os.fstat(file.fileno())
        with self._lock:
            known = self._hashes.get(_identity(told))
        digest = known or _digest(file)
        with self._lock:
            self._hashes[_identity(told)] = digest
        return digest

    def files(self) -> list[FirmwareFile]:
        """Every file, by name, with its hash."""
        found: list[FirmwareFile] = []
        known: dict[tuple[int, int, int, int], str] = {}
        for entry in sorted(self._entries(), key=lambda each: each.name):
            with suppress(FirmwareError), self.open(entry.name) as file:
                told = os.fstat(file.fileno())
                digest = self._hashes.get(_identity(told)) or _digest(file)
                known[_identity(told)] = digest
                found.append(FirmwareFile(entry.name, told.st_size, told.st_mtime, digest))
        with self._lock:
            self._hashes = known
        return found

    def delete(self, name: str) -> None:
        """Remove a file; a running transfer of it goes on. Raises FirmwareError("file_not_found")."""
        with self.open(name):
            (self.folder / name).unlink(missing_ok=True)
        atomic.sync_directory(self.folder)

    def sweep(self) -> None:
        """Remove what a killed process left of uploads."""
        if self.folder.is_dir():
            atomic.sweep(self.folder)

    # -- for uploads ------------------------------------------------------------------------------

    def grow(self, more: int, size: int) -> None:
        """Count bytes that are about to be written. Raises FirmwareError above a limit."""
        limits = self._limits
        if size + more > limits.file:
            raise FirmwareError("invalid_parameter", f"a firmware file above {limits.file} bytes")
        disk = os.statvfs(self.folder)
        with self._lock:
            if self._settled + self._coming + more > limits.total:
                raise FirmwareError("invalid_parameter", f"more than {limits.total} bytes of firmware")
            if disk.f_bavail * disk.f_frsize - more < limits.free:
                raise FirmwareError("invalid_parameter", "the disk is nearly full")
            self._coming += more

    def release(self, size: int) -> None:
        """An upload ended, its bytes are in the folder or gone."""
        with self._lock:
            self._coming -= size

    def settle(self, told: os.stat_result, digest: str) -> None:
        """A file was just written: keep its hash, count its bytes."""
        with self._lock:
            self._settled += told.st_size
            self._hashes[_identity(told)] = digest

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.folder) as entries:
                return [
                    each for each in entries if NAME.fullmatch(each.name) and each.is_file(follow_symlinks=False)
                ]
        except FileNotFoundError:
            return []


def check_name(name: str) -> str:
    """A base name of letters, digits, `.`, `_`, `-`, `%` and blanks. Raises FirmwareError("invalid_filename")."""
    if not NAME.fullmatch(name):
        raise FirmwareError("invalid_filename", "not a plain file name")
    return name


@contextmanager
def receiving(store: FirmwareStore, name: str) -> Iterator[Upload]:
    """An upload that leaves nothing behind unless it was finished."""
    upload = store.begin(name)
    try:
        yield upload
    finally:
        upload.close()


def _identity(told: os.stat_result) -> tuple[int, int, int, int]:
    return told.st_dev, told.st_ino, told.st_mtime_ns, told.st_size


def _digest(file: BinaryIO) -> str:
    found = hashlib.sha256()
    while block := file.read(_BLOCK):
        found.update(block)
    return found.hexdigest()
