"""Core servers as instances of `rop-server@`: systemd starts, watches, restarts and outlives the agent."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rop_operator.adapters.process_table import ProcessId, wait_end
from rop_operator.adapters.server_folder import ServerFolder, folder_of, known_below
from rop_operator.adapters.systemd_units import Systemctl, Unit, server_unit
from rop_operator.api.facts import Ref
from rop_operator.ports import Drift, PortError, RuntimeState

# systemd restarts a server that dies by itself; one it gave up (exit code 78) is tried again so often.
TRY_AGAIN = 60.0


@dataclass
class Entry(ServerFolder):
    """One server: what is kept of it on disk, and when it may be started again."""

    not_before: float = 0.0
    message: str | None = None
    watched: ProcessId | None = None
    watcher: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class SystemdRuntime:
    """`Runtime` below `root`: NAMESPACE/NAME is the data of the server `rop-server@NAMESPACE-NAME`."""

    def __init__(self, root: Path, command: Sequence[str], systemctl: Systemctl | None = None) -> None:
        self._root = root
        self._command = tuple(command)
        self._systemctl = systemctl or Systemctl()
        self._entries: dict[Ref, Entry] = {}
        self.changed: Callable[[Ref], None] = lambda ref: None
        """Called when a server ended or may be started again."""

    def known(self) -> list[Ref]:
        """Servers that have ever been started here."""
        return known_below(self._root)

    async def drift(self, ref: Ref) -> Drift:
        """A unit is written at each start; around a running server there is nothing to repair."""
        return Drift()

    def _entry(self, ref: Ref) -> Entry:
        if ref not in self._entries:
            entry = Entry(folder_of(self._root, ref))
            entry.load()
            self._entries[ref] = entry
        return self._entries[ref]

    async def ensure(self, ref: Ref, members: Mapping[str, Any], environment: Mapping[str, str]) -> RuntimeState:
        """See that its unit runs; prepare the data directory before the first start."""
        entry = self._entry(ref)
        async with entry.lock:
            try:
                unit = await self._systemctl.show(server_unit(ref))
                if unit.state in ("Running", "Starting"):
                    return self._alive(ref, entry, unit)
                if unit.active == "activating":
                    return RuntimeState("Failed", unit.last_words, entry.endpoint)
                return await self._start(ref, entry, unit, members, environment)
            except PortError as error:
                return self._failed(entry, error.message)

    def _alive(self, ref: Ref, entry: Entry, unit: Unit) -> RuntimeState:
        if unit.state == "Running":
            if "started" not in entry.record:
                entry.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                entry.save(started=True)
            entry.note_steady(time.monotonic() - unit.since)
        self._watch(ref, entry, ProcessId.of(unit.pid) if unit.pid else None)
        return RuntimeState(unit.state, None, entry.endpoint)

    async def _start(
        self, ref: Ref, entry: Entry, unit: Unit, members: Mapping[str, Any], environment: Mapping[str, str]
    ) -> RuntimeState:
        now = asyncio.get_running_loop().time()
        if now < entry.not_before:
            told = unit.last_words if unit.active == "failed" else entry.message
            return RuntimeState("Failed", told, entry.endpoint)
        entry.not_before, entry.message = now + TRY_AGAIN, None
        failure = await entry.prepare(self._command, members, environment)
        if failure is not None:
            return self._failed(entry, failure)
        entry.save(started=True)
        await self._systemctl.start(server_unit(ref))
        return RuntimeState("Starting", None, entry.endpoint)

    @staticmethod
    def _failed(entry: Entry, message: str) -> RuntimeState:
        entry.message = message
        return RuntimeState("Failed", message, entry.endpoint)

    def _watch(self, ref: Ref, entry: Entry, process: ProcessId | None) -> None:
        """Tell of the end of this process; once for each."""
        if process is None or process == entry.watched:
            return
        if entry.watcher is not None:
            entry.watcher.cancel()
        entry.watched = process
        entry.watcher = asyncio.create_task(self._watched(ref, process), name=f"server {ref}")

    async def _watched(self, ref: Ref, process: ProcessId) -> None:
        descriptor = process.open()
        if descriptor is not None:
            try:
                await wait_end(descriptor)
            finally:
                os.close(descriptor)
        self.changed(ref)

    async def restart(self, ref: Ref) -> RuntimeState:
        """Stop gracefully and start again; clients of its sockets wait meanwhile."""
        entry = self._entry(ref)
        async with entry.lock:
            await self._systemctl.restart(server_unit(ref))
            entry.not_before = 0.0
            return RuntimeState("Starting", None, entry.endpoint)

    async def stop(self, ref: Ref) -> None:
        """Stop it and the sockets that would start it again; the data stays."""
        entry = self._entry(ref)
        async with entry.lock:
            unit = await self._systemctl.show(server_unit(ref))
            await self._systemctl.stop(*unit.triggered_by, server_unit(ref))
            entry.not_before = 0.0

    async def stop_all(self) -> None:
        """Stop every server that was ever started here."""
        await asyncio.gather(*(self.stop(ref) for ref in self.known()))

    async def close(self) -> None:
        """Let go of the servers; they run on."""
        watchers = [entry.watcher for entry in self._entries.values() if entry.watcher is not None]
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
