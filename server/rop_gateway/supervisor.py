"""The nginx process: started, found again, reloaded, ended. It outlives us, so that our death drops no viewer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path

import structlog

from rop_gateway.folder import Folder
from rop_gateway.nginx import Nginx, arguments

log = structlog.get_logger("rop.gateway")

BACKOFF_FIRST, BACKOFF_MOST, STEADY = 1.0, 60.0, 30.0


class Supervisor:
    """One nginx for one folder. `running` until its master ends."""

    def __init__(self, folder: Folder, nginx: Nginx) -> None:
        self._folder = folder
        self._nginx = nginx
        self._child: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._started_at = 0.0
        self._not_before = 0.0
        self.pid: int | None = None

    @property
    def running(self) -> bool:
        """Whether the master lives."""
        if self._child is not None:
            self._child.poll()  # reaps it
        return self.pid is not None and _is_ours(self.pid, self._folder.configuration)

    def adopt(self) -> bool:
        """Find the nginx that a former rop-gateway left running; it needs a reload to know us."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._folder.pid.read_text())
            if _is_ours(pid, self._folder.configuration):
                self.pid = pid
                log.info("nginx", message="found running", pid=pid)
                return True
        return False

    def start(self, now: float) -> bool:
        """Start it, unless its last starts failed a moment ago. `now` is monotonic."""
        if now < self._not_before:
            return False
        steady = self.pid is not None and now - self._started_at > STEADY
        self._failures = 0 if steady else self._failures + 1
        self._not_before = (
            now + min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** (self._failures - 1)) if self._failures else 0
        )
        self._quit_orphans()
        self._started_at = now
        with self._folder.start_log.open("wb") as said:
            self._child = subprocess.Popen(  # noqa: S603 - looked up, arguments are ours
                arguments(self._nginx, self._folder.configuration),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                # A group of its own: our terminal and our end do not reach it, and its workers are found again.
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
                cwd="/",
            )
        self.pid = self._child.pid
        log.info("nginx", message="started", pid=self.pid)
        return True

    def _quit_orphans(self) -> None:
        """Workers whose master was killed let go of the ports and serve what they have to its end."""
        if self.pid is None:
            with contextlib.suppress(OSError, ValueError):
                self.pid = int(self._folder.pid.read_text())
        if self.pid is None or _is_ours(self.pid, self._folder.configuration):
            return
        for pid in _members(self.pid):
            log.warning("nginx", message="worker without master", pid=pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)

    def last_words(self) -> str:
        """What it said before it ended."""
        with contextlib.suppress(OSError):
            lines = [line for line in self._folder.start_log.read_text("utf-8", "replace").splitlines() if line]
            return lines[-1][-500:] if lines else ""
        return ""

    def reload(self) -> None:
        """Take the configuration and the pair it names; old workers serve on until they have nothing left."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGHUP)

    async def stop(self, grace: float) -> None:
        """Take no new connection, end what is left after `grace` seconds."""
        for number, limit in ((signal.SIGQUIT, grace), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            if self.pid is None or not self.running:
                return
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(self.pid)
                try:
                    signal.pidfd_send_signal(descriptor, number)
                    await _ended(descriptor, limit)
                finally:
                    os.close(descriptor)


async def _ended(descriptor: int, limit: float) -> None:
    """Until the process of a pidfd ended, for `limit` seconds at most."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), limit)
    finally:
        loop.remove_reader(descriptor)


def _is_ours(pid: int, configuration: Path) -> bool:
    """Whether a process is an nginx master with this configuration; the dead and other programs are not."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"nginx" in words and str(configuration).encode() in words


def _members(group: int) -> list[int]:
    """The nginx processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                name, _, rest = (entry / "stat").read_text("utf-8", "replace").rpartition(")")
                if name.endswith("(nginx") and int(rest.split()[2]) == group:
                    found.append(int(entry.name))
    return found
