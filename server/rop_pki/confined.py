"""A process that may hold a root's key for a moment: no core dump, no swap, no look by others of the same user."""

import ctypes
import os
import resource
from contextlib import suppress
from pathlib import Path

from rop_pki.facts import PkiError

_PR_SET_DUMPABLE = 4
_MCL_CURRENT, _MCL_FUTURE = 1, 2
_SWAPS = Path("/proc/swaps")


def confine() -> None:
    """Make this process fit to hold a root's key. Raises PkiError when its memory could be written to a swap."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise PkiError(f"core dumps cannot be switched off: {os.strerror(ctypes.get_errno())}")
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) and swap_in_use():
        raise PkiError(
            "memory cannot be locked and this machine swaps: the root's key could be written to a disk in clear;"
            " allow locking (LimitMEMLOCK=infinity, ulimit -l) or switch the swap off (swapoff -a)"
        )


def swap_in_use(swaps: Path = _SWAPS) -> bool:
    """Whether the machine has a swap; True when nothing can be said."""
    try:
        return len(swaps.read_text().splitlines()) > 1
    except OSError:
        return True
