"""Core servers as processes of this machine. They outlive the agent, which finds them again by their identity."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rop_operator.adapters.process_table import ProcessId, find_process, terminate, wait_end
from rop_operator.adapters.server_folder import STEADY, ServerFolder, folder_of, known_below, last_line, passed_on
from rop_operator.api.facts import Ref
from rop_operator.ports import Drift, RuntimeState

STOP_GRACE = 20.0
BACKOFF_FIRST, BACKOFF_MOST = 1.0, 60.0
MAX_LOG = 32 * 1024 * 1024
TAIL = 4096
# Names of documents have no underscore, so this is never the data directory of another server.
LOG = "_server.log"


@dataclass
class Entry(ServerFolder):
    """One server: what is kept of it on disk, and how its last starts went."""

    process: ProcessId | None = None
    child: subprocess.Popen[bytes] | None = None
    failures: int = 0
    started_at: float = float("-inf")
    not_before: float = 0.0
    message: str | None = None
    watcher: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def log_path(self) -> Path:
        """The server's output."""
        return self.folder.with_name(self.folder.name + LOG)

    def load(self) -> None:
        """Read the record, if there is one."""
        super().load()
        known = self.record.get("process")
        if isinstance(known, dict):
            self.process = ProcessId(int(known["pid"]), int(known["started"]), str(known["boot"]))


class ProcessRuntime:
    """`Runtime` below `root`: NAMESPACE/NAME is the data of a server, beside it its record and its log."""

    def __init__(self, root: Path, command: Sequence[str]) -> None:
        self._root = root
        self._command = tuple(command)
        self._entries: dict[Ref, Entry] = {}
        self.changed: Callable[[Ref], None] = lambda ref: None
        """Called when a server ended or may be started again."""

    def folder(self, ref: Ref) -> Path:
        """Data directory of a server. ValueError for names that are no file names."""
        return folder_of(self._root, ref)

    def known(self) -> list[Ref]:
        """Servers that have ever been started here."""
        return known_below(self._root)

    async def drift(self, ref: Ref) -> Drift:
        """A process has nothing around it."""
        return Drift()

    def _entry(self, ref: Ref) -> Entry:
        if ref not in self._entries:
            entry = Entry(self.folder(ref))
            entry.load()
            self._entries[ref] = entry
        return self._entries[ref]

    async def ensure(self, ref: Ref, members: Mapping[str, Any], environment: Mapping[str, str]) -> RuntimeState:
        """See that it runs; a dead one is started again, less and less often."""
        entry = self._entry(ref)
        async with entry.lock:
            if entry.process is not None and entry.process.alive():
                self._watch(ref, entry)
                return self._alive(entry)
            if entry.watcher is not None:
                # It counts the failure of the dead one first: else nobody would watch the next one.
                await asyncio.wait([entry.watcher])
            if asyncio.get_running_loop().time() < entry.not_before:
                return RuntimeState("Failed", entry.message, entry.endpoint)
            return await self._start(ref, entry, members, environment)

    def _alive(self, entry: Entry) -> RuntimeState:
        bound_log(entry.log_path)
        up = (entry.folder / "run" / "manage.sock").exists()
        return RuntimeState("Running" if up else "Starting", None, entry.endpoint)

    async def _start(
        self, ref: Ref, entry: Entry, members: Mapping[str, Any], environment: Mapping[str, str]
    ) -> RuntimeState:
        entry.process = find_process(("--data", str(entry.folder)))
        if entry.process is not None:
            self._remember(ref, entry, entry.process)
            return RuntimeState("Starting", None, entry.endpoint)
        failure = await entry.prepare(self._command, members, environment)
        if failure is not None:
            return self._failed(ref, entry, failure)
        bound_log(entry.log_path)
        try:
            entry.child = self._spawn(entry)
        except OSError as error:
            return self._failed(ref, entry, f"{self._command[0]}: {error.strerror}")
        entry.started_at = asyncio.get_running_loop().time()
        entry.process = ProcessId.of(entry.child.pid)
        if entry.process is None:
            return self._failed(ref, entry, last_words("the server", entry.child, entry.log_path))
        self._remember(ref, entry, entry.process)
        return RuntimeState("Starting", None, entry.endpoint)

    def _remember(self, ref: Ref, entry: Entry, process: ProcessId) -> None:
        entry.save(process={"pid": process.pid, "started": process.started, "boot": process.boot})
        self._watch(ref, entry)

    def _spawn(self, entry: Entry) -> subprocess.Popen[bytes]:
        """A session of its own, so that neither the agent's end nor its terminal reaches the server."""
        descriptor = os.open(entry.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return subprocess.Popen(  # noqa: S603  (the command is the program's own option)
                [*self._command, "--data", str(entry.folder)],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                env=passed_on(),
                cwd="/",
            )
        finally:
            os.close(descriptor)

    def _watch(self, ref: Ref, entry: Entry) -> None:
        if entry.watcher is None or entry.watcher.done():
            entry.watcher = asyncio.create_task(self._watched(ref, entry), name=f"server {ref}")

    async def _watched(self, ref: Ref, entry: Entry) -> None:
        process = entry.process
        descriptor = process.open() if process is not None else None
        if descriptor is not None:
            try:
                await wait_end(descriptor)
            finally:
                os.close(descriptor)
        if entry.process is process:
            self._failed(ref, entry, last_words("the server", entry.child, entry.log_path))
            self.changed(ref)

    def _failed(self, ref: Ref, entry: Entry, message: str) -> RuntimeState:
        loop = asyncio.get_running_loop()
        self._note_steady(entry, loop.time())
        steady = entry.process is not None and loop.time() - entry.started_at > STEADY
        entry.failures = 1 if steady else entry.failures + 1
        delay = min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** (entry.failures - 1))
        entry.process = None
        entry.message = message
        entry.not_before = loop.time() + delay
        loop.call_later(delay + 0.01, lambda: self.changed(ref))
        return RuntimeState("Failed", message, entry.endpoint)

    @staticmethod
    def _note_steady(entry: Entry, now: float) -> None:
        if entry.process is not None:
            entry.note_steady(now - entry.started_at)

    async def restart(self, ref: Ref) -> RuntimeState:
        """Stop gracefully; the next `ensure` starts it at once."""
        await self.stop(ref)
        entry = self._entry(ref)
        async with entry.lock:
            return await self._start(ref, entry, {}, {})

    async def stop(self, ref: Ref) -> None:
        """Stop it; the data stays."""
        entry = self._entry(ref)
        async with entry.lock:
            self._note_steady(entry, asyncio.get_running_loop().time())
            process, entry.process = entry.process, None
            if process is not None:
                await terminate(process, STOP_GRACE)
                entry.save(process=None)
            if entry.child is not None:
                entry.child.poll()
            entry.failures, entry.not_before = 0, 0.0

    async def stop_all(self) -> None:
        """Stop every server that was ever started here."""
        await asyncio.gather(*(self.stop(ref) for ref in self.known()))

    async def close(self) -> None:
        """Let go of the servers; they run on."""
        watchers = [e.watcher for e in self._entries.values() if e.watcher is not None]
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        for entry in self._entries.values():
            if entry.child is not None and entry.child.poll() is None:
                entry.child.returncode = 0  # it runs on without us: no warning about a child left behind


def last_words(who: str, child: subprocess.Popen[bytes] | None, log: Path) -> str:
    """How a process ended, and the last line that it wrote."""
    status = child.poll() if child is not None else None
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            last = last_line(file.read())
    except OSError:
        last = ""
    how = f"{who} ended" if status is None else f"{who} ended with status {status}"
    return f"{how}: {last}" if last else how


def bound_log(path: Path) -> None:
    """Keep the log and one predecessor below a size; the server writes on to the same file."""
    with contextlib.suppress(OSError):
        if path.stat().st_size > MAX_LOG:
            old = path.with_name(path.name + ".1")
            old.write_bytes(path.read_bytes())
            old.chmod(0o600)
            os.truncate(path, 0)
