"""Processes of this machine that outlive their starter: identity beyond the pid, a signal when they end."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_STATE, _START_TIME = 2, 21


def boot_id() -> str:
    """Identity of this boot: start times of processes count from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def start_time(pid: int) -> int | None:
    """Ticks after boot at which a living process was started; None for a dead one or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 1 :].split()
    return None if fields[_STATE - 2] in ("Z", "X") else int(fields[_START_TIME - 2])


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for good: a pid that was used again is another process."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """Identity of a living process."""
        started = start_time(pid)
        return None if started is None else cls(pid, started, boot_id())

    def alive(self) -> bool:
        """Whether exactly this process lives."""
        return self.boot == boot_id() and start_time(self.pid) == self.started

    def open(self) -> int | None:
        """A pidfd of exactly this process, None when it is gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return None
        if self.alive():
            return descriptor
        os.close(descriptor)
        return None


def find_process(arguments: Sequence[str]) -> ProcessId | None:
    """A living process of ours whose command line ends with exactly these arguments."""
    wanted = [os.fsencode(argument) for argument in arguments]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if entry.stat().st_uid != os.getuid():
                continue
            words = (entry / "cmdline").read_bytes().split(b"\0")[:-1]
            if words[-len(wanted) :] == wanted:
                return ProcessId.of(int(entry.name))
    return None


async def wait_end(descriptor: int, timeout: float | None = None) -> bool:
    """Wait until the process of a pidfd ended; False when `timeout` seconds went by first."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    watched = os.dup(descriptor)
    loop.add_reader(watched, done.set)
    try:
        await asyncio.wait_for(done.wait(), timeout)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(watched)
        os.close(watched)
    return True


async def terminate(process: ProcessId, grace: float) -> None:
    """SIGTERM, and SIGKILL after `grace` seconds."""
    descriptor = process.open()
    if descriptor is None:
        return
    try:
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            if await wait_end(descriptor, patience):
                return
    finally:
        os.close(descriptor)
