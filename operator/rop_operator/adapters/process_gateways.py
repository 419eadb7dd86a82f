"""Gateways as processes of this machine, each beside a server. They outlive the agent, and are found again."""

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rop_operator.adapters.process_runtime import bound_log, last_words
from rop_operator.adapters.process_table import ProcessId, find_process, terminate, wait_end
from rop_operator.adapters.server_folder import passed_on, private
from rop_operator.api.facts import GatewayRun, Ref
from rop_operator.domain.plan import EnsureGateway

# nginx gets ten seconds of it to end what it serves.
STOP_GRACE = 30.0
BACKOFF_FIRST, BACKOFF_MOST, STEADY = 1.0, 60.0, 30.0
DOCUMENT, OUTPUT, OWN = "gateway.yaml", "gateway.log", "run"
MEMBERS: Mapping[str, tuple[str, ...]] = {
    "htpasswd": ("htpasswdFile",),
    "chain.pem": ("certificate", "chainFile"),
    "key.pem": ("certificate", "keyFile"),
}


@dataclass
class Entry:
    """One gateway: its folder, its process, and how its last starts went."""

    folder: Path
    process: ProcessId | None = None
    child: subprocess.Popen[bytes] | None = None
    failures: int = 0
    started_at: float = float("-inf")
    not_before: float = 0.0
    message: str | None = None
    watcher: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def document(self) -> Path:
        """What rop-gateway reads."""
        return self.folder / DOCUMENT

    @property
    def output(self) -> Path:
        """What it says."""
        return self.folder / OUTPUT


class ProcessGateways:
    """`Gateways` below `root`: NAMESPACE/NAME holds document, files and output of a gateway. `sockets_of`: where
    the server of a gateway listens for it.
    """

    def __init__(self, root: Path, command: Sequence[str], sockets_of: Callable[[Ref], Path]) -> None:
        self._root = root
        self._command = tuple(command)
        self._sockets_of = sockets_of
        self._entries: dict[Ref, Entry] = {}
        self.changed: Callable[[Ref], None] = lambda ref: None
        """Called when a gateway ended or may be started again."""

    def known(self) -> list[Ref]:
        """Gateways that have a document here."""
        found = sorted(self._root.glob(f"*/*/{DOCUMENT}"))
        return [Ref("RopServer", path.parent.parent.name, path.parent.name) for path in found]

    async def observe(self, ref: Ref, wanted: EnsureGateway | None) -> GatewayRun:
        """How it is, and whether it was given just this."""
        entry = self._entry(ref)
        async with entry.lock:
            return self._seen(ref, entry, wanted)

    def _seen(self, ref: Ref, entry: Entry, wanted: EnsureGateway | None) -> GatewayRun:
        same = wanted is not None and _kept(entry.folder) == self._contents(ref, entry, wanted)
        if entry.process is not None and entry.process.alive():
            self._watch(ref, entry)
            bound_log(entry.output)
            return GatewayRun(state="Running", same=same)
        if entry.failures:
            return GatewayRun(state="Failed", same=same, message=entry.message)
        return GatewayRun(state="Stopped", same=same)

    async def ensure(self, ref: Ref, wanted: EnsureGateway) -> GatewayRun:
        """Write what differs, and start it when it does not run. A running one looks at its files by itself."""
        entry = self._entry(ref)
        async with entry.lock:
            self._give(ref, entry, wanted)
            if entry.process is None or not entry.process.alive():
                if entry.watcher is not None:
                    # It counts the failure of the dead one first: else nobody would watch the next one.
                    await asyncio.wait([entry.watcher])
                if asyncio.get_running_loop().time() >= entry.not_before:
                    self._start(ref, entry)
            return self._seen(ref, entry, wanted)

    def _entry(self, ref: Ref) -> Entry:
        if ref not in self._entries:
            entry = Entry(self._root / ref.namespace / ref.name)
            if entry.document.exists():
                entry.process = find_process(("--config", str(entry.document)))
            self._entries[ref] = entry
        return self._entries[ref]

    # -- files ------------------------------------------------------------------------------------

    def _contents(self, ref: Ref, entry: Entry, wanted: EnsureGateway) -> dict[str, str]:
        """Every file by name."""
        document = {**wanted.document, "directory": str(entry.folder / OWN), "sockets": str(self._sockets_of(ref))}
        for name in wanted.files:
            *outer, member = MEMBERS[name]
            inside: dict[str, Any] = document
            for each in outer:
                inside[each] = inside = dict(inside[each])
            inside[member] = str(entry.folder / name)
        return {DOCUMENT: json.dumps(document, indent=2) + "\n", **wanted.files}

    def _give(self, ref: Ref, entry: Entry, wanted: EnsureGateway) -> None:
        """The document comes last: whoever reads it finds the files that it names. No secret stays behind."""
        contents = self._contents(ref, entry, wanted)
        kept = _kept(entry.folder)
        entry.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (*wanted.files, DOCUMENT):
            if kept.get(name) != contents[name]:
                _write(entry.folder / name, contents[name])
        for name in kept.keys() - contents.keys():
            (entry.folder / name).unlink()

    # -- process ----------------------------------------------------------------------------------

    def _start(self, ref: Ref, entry: Entry) -> None:
        bound_log(entry.output)
        entry.started_at = asyncio.get_running_loop().time()
        try:
            entry.child = self._spawn(entry)
        except OSError as error:
            self._failed(ref, entry, f"{self._command[0]}: {error.strerror}")
            return
        entry.process = ProcessId.of(entry.child.pid)
        if entry.process is None:
            self._failed(ref, entry, last_words("the gateway", entry.child, entry.output))
            return
        self._watch(ref, entry)

    def _spawn(self, entry: Entry) -> subprocess.Popen[bytes]:
        """A session of its own, so that neither the agent's end nor its terminal reaches it."""
        descriptor = os.open(entry.output, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return subprocess.Popen(  # noqa: S603  (the command is the program's own option)
                [*self._command, "run", "--config", str(entry.document)],
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
            entry.watcher = asyncio.create_task(self._watched(ref, entry), name=f"gateway {ref}")

    async def _watched(self, ref: Ref, entry: Entry) -> None:
        process = entry.process
        descriptor = process.open() if process is not None else None
        if descriptor is not None:
            try:
                await wait_end(descriptor)
            finally:
                os.close(descriptor)
        if entry.process is process:
            self._failed(ref, entry, last_words("the gateway", entry.child, entry.output))
            self.changed(ref)

    def _failed(self, ref: Ref, entry: Entry, message: str) -> None:
        loop = asyncio.get_running_loop()
        steady = entry.process is not None and loop.time() - entry.started_at > STEADY
        entry.failures = 1 if steady else entry.failures + 1
        delay = min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** (entry.failures - 1))
        entry.process, entry.message = None, message
        entry.not_before = loop.time() + delay
        loop.call_later(delay + 0.01, lambda: self.changed(ref))

    async def stop(self, ref: Ref) -> None:
        """Stop it and forget what it was given; its own directory stays."""
        entry = self._entry(ref)
        async with entry.lock:
            process, entry.process = entry.process, None
            if process is not None:
                await terminate(process, STOP_GRACE)
            if entry.child is not None:
                entry.child.poll()
            for name in _kept(entry.folder):
                (entry.folder / name).unlink()
            entry.failures, entry.not_before = 0, 0.0

    async def stop_all(self) -> None:
        """Stop every gateway."""
        await asyncio.gather(*(self.stop(ref) for ref in self.known()))

    async def close(self) -> None:
        """Let go of the gateways; they run on."""
        watchers = [e.watcher for e in self._entries.values() if e.watcher is not None]
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        for entry in self._entries.values():
            if entry.child is not None and entry.child.poll() is None:
                entry.child.returncode = 0  # it runs on without us: no warning about a child left behind


def _kept(folder: Path) -> dict[str, str]:
    """The files of a gateway that are there."""
    found = {}
    for name in (DOCUMENT, *MEMBERS):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found[name] = (folder / name).read_text("utf-8")
    return found


def _write(path: Path, text: str) -> None:
    """At once, and for nobody else to read."""
    temporary = path.with_name(f".{path.name}.new")
    with open(temporary, "w", encoding="utf-8", opener=private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
