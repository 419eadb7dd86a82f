"""A place in memory for a restored site: private, removed at the end, swept after a drill that was killed."""

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rop_drill.reasons import DrillFailed, Reason

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder made in it is checked and private
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True, slots=True)
class Scratch:
    """`file_system` of the folder; `swap`: its pages may reach a disk."""

    folder: Path
    file_system: str
    swap: bool


@contextmanager
def scratch(place: Path = SHARED_MEMORY) -> Iterator[Scratch]:
    """A new private folder in memory below `place`. Raises DrillFailed when there is no memory-backed one."""
    kind = _file_system(place)
    if kind not in _IN_MEMORY:
        raise DrillFailed(Reason.SCRATCH, f"{place} is not kept in memory ({kind}); keys must not reach a disk")
    base = _base(place)
    with _locked(base, wait=True):
        _sweep(base)
        folder = Path(tempfile.mkdtemp(prefix="drill-", dir=base))
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield Scratch(folder, kind, _swaps())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _base(place: Path) -> Path:
    """The folder of this user's drills. Anybody may write to shared memory, so it is looked at closely."""
    base = place / f"rop-drill-{os.getuid()}"
    with suppress(FileExistsError):
        base.mkdir(mode=0o700)
    found = base.lstat()
    if not base.is_dir() or base.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise DrillFailed(Reason.SCRATCH, f"{base} is not a private folder of this user; remove it")
    return base


@contextmanager
def _locked(folder: Path, wait: bool) -> Iterator[bool]:
    """Whether the folder's lock was had; it goes with the process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _sweep(base: Path) -> None:
    """Remove what killed drills left: a server that did not end with its drill, and the folder with its keys."""
    for left in base.glob("drill-*"):
        with _locked(left, wait=False) as dead:
            if dead:
                _kill_users(left)
                shutil.rmtree(left, ignore_errors=True)


def _kill_users(folder: Path) -> None:
    """Our processes that have the folder in their command line: servers of a drill that is gone."""
    wanted = os.fsencode(folder) + b"/"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if any(word.startswith(wanted) for word in words):
                os.kill(int(entry.name), signal.SIGKILL)


def _file_system(path: Path) -> str:
    """The type of the file system that a path lies on, `none` when it is not there."""
    if not path.is_dir():
        return "none"
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == number:
            return after.split()[0]
    return "unknown"


def _swaps() -> bool:
    """Whether this machine swaps."""
    with suppress(OSError):
        return len(Path("/proc/swaps").read_text().splitlines()) > 1
    return False
