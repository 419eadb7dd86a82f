"""Where archives are kept. A target lists, gives and takes whole archives; what it gives is never trusted."""

import errno
import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rop_data import atomic
from rop_data.archive.errors import ArchiveError, Reason

SUFFIX = ".roparchive"
MAX_ARCHIVE = 1 << 30


@dataclass(frozen=True, slots=True)
class Listed:
    """An archive by name and bytes, as the target tells it."""

    name: str
    size: int


class Target(Protocol):
    """A place for archives. Every method raises ArchiveError: TargetUnreachable, TargetRefused, TargetFull,
    TargetNotUsable.
    """

    def names(self, prefix: str = "") -> list[Listed]:
        """The archives whose names begin so, by name. Half-written ones are not among them."""
        ...

    def get(self, name: str) -> bytes:
        """The bytes as the target has them now."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Store a new archive; it appears whole or not at all."""
        ...

    def remove(self, name: str) -> None:
        """Delete an archive; one that is gone is no error."""
        ...


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
# FAT and some shares have no hard links.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def _told(place: object) -> Iterator[None]:
    """System errors by what a person can do about them."""
    try:
        yield
    except OSError as failure:
        text = f"{place}: {failure.strerror or type(failure).__name__}"
        if failure.errno in _FULL:
            raise ArchiveError(Reason.TARGET_FULL, text) from None
        if failure.errno in _REFUSED:
            raise ArchiveError(Reason.TARGET_REFUSED, text) from None
        raise ArchiveError(Reason.TARGET, text) from None


def _name(temporary: str, path: Path) -> None:
    """Give a file its name unless it is taken. Raises FileExistsError."""
    try:
        os.link(temporary, path)
    except OSError as failure:
        if failure.errno not in _NO_LINKS or path.exists():
            raise
        Path(temporary).rename(path)


class DirectoryTarget:
    """A directory: a local disk, a mounted share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _need(self) -> None:
        # An unmounted disk must not be taken for an empty one, so the directory is never made here.
        if not self.folder.is_dir():
            raise ArchiveError(Reason.TARGET, f"{self.folder} is not a directory")

    def names(self, prefix: str = "") -> list[Listed]:
        """See `Target`."""
        with _told(self.folder):
            self._need()
            found = [each for each in sorted(self.folder.glob(f"*{SUFFIX}")) if each.name.startswith(prefix)]
            return [Listed(each.name, each.stat().st_size) for each in found if each.is_file()]

    def get(self, name: str) -> bytes:
        """See `Target`."""
        with _told(self.folder / name):
            return (self.folder / name).read_bytes()

    def put(self, name: str, data: bytes) -> None:
        """Temporary file, fsync, read back, and only then the name; an existing file stays as it is."""
        path = self.folder / name
        self._need()
        with _told(path):
            descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix=f".{name}.", suffix=".new")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                    # So that the read below comes from the disk.
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                if Path(temporary).read_bytes() != data:
                    raise ArchiveError(Reason.READ_BACK, f"{path} was not read back as written")
                _name(temporary, path)
            except FileExistsError:
                raise ArchiveError(Reason.TARGET, f"{path} exists; nothing was overwritten") from None
            finally:
                with suppress(FileNotFoundError):
                    Path(temporary).unlink()
            atomic.sync_directory(self.folder)

    def remove(self, name: str) -> None:
        """See `Target`."""
        with _told(self.folder / name):
            (self.folder / name).unlink(missing_ok=True)
            atomic.sync_directory(self.folder)

    def sweep(self, prefix: str) -> None:
        """Remove what a killed `put` of archives with this prefix left."""
        with suppress(OSError):
            for left in self.folder.glob(f".{glob.escape(prefix)}*{SUFFIX}.*.new"):
                left.unlink(missing_ok=True)
