"""`Store` of a plain host: a directory of YAML files is what is wanted, SQLite remembers what was accepted."""

import asyncio
import contextlib
import logging
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from watchfiles import awatch

from rop_operator.adapters.host_database import HostDatabase, Row, timestamp
from rop_operator.adapters.host_files import (
    Directory,
    Scan,
    document_text,
    remove_file,
    transition_errors,
    write_file,
)
from rop_operator.api.facts import Document, Ref
from rop_operator.api.parse import transition_problems
from rop_operator.api.registry import API_VERSION
from rop_operator.documents import Parsed, RawDocument, parse_all
from rop_operator.domain.deletion import deletion_refused
from rop_operator.errors import DocumentError, DocumentsRefused
from rop_operator.ports import PortError

log = logging.getLogger(__name__)

RESCAN_SECONDS = 30.0
# An editor may empty a file before it fills it: an object is gone only when it was missing for this long.
SETTLE_SECONDS = 1.0
RECENT_CHANGES = 10_000
MAX_MESSAGE = 1000
Objects = list[dict[str, Any]]
Applied = list[tuple[Ref, str]]


class HostStore:
    """Documents of the files below `folder`. Calls are synchronous inside: one process, one loop, one database."""

    def __init__(
        self,
        folder: Path,
        database: HostDatabase,
        watched: Sequence[Path] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`watched`: directories whose changes mean that every RopServer is to be looked at again (secrets)."""
        self._folder = folder
        self._directory = Directory(folder)
        self._database = database
        self._watched = tuple(watched)
        self._clock = clock
        self._rows: dict[Ref, Row] = {row.document.ref: row for row in database.load()}
        self._version = max((int(r.document.resource_version) for r in self._rows.values()), default=0)
        self._first_version = self._version
        self._changed: OrderedDict[Ref, None] = OrderedDict.fromkeys(sorted(self._rows))
        self._wake = asyncio.Event()
        self._recent: deque[tuple[int, Ref]] = deque(maxlen=RECENT_CHANGES)
        self._news = asyncio.Event()
        self._missing_since: dict[Ref, float] = {}
        self._told: set[str] = set()
        self._held: set[Ref] = set()
        self.scan = Scan(missing=True)
        self.source = "Ok"

    # What the engine uses

    async def changes(self) -> AsyncIterator[Ref]:
        """Every ref once, then each that changed."""
        while True:
            while self._changed:
                yield self._changed.popitem(last=False)[0]
            self._wake.clear()
            await self._wake.wait()

    async def get(self, ref: Ref) -> Document | None:
        """The last accepted version."""
        row = self._rows.get(ref)
        return row.document if row else None

    async def list(self, kind: str, namespace: str | None = None) -> Sequence[Document]:
        """All of a kind, in order of their names."""
        found = [r for r in self._rows if r.kind == kind and namespace in (None, r.namespace)]
        return [self._rows[ref].document for ref in sorted(found)]

    async def put_status(self, document: Document, status: Mapping[str, Any]) -> None:
        """Replace the status of this very object."""
        row = self._rows.get(document.ref)
        if row is not None and row.document.uid == document.uid:
            self._store(Row(replace(row.document, status=dict(status)), row.file), notify=False)

    async def set_finalizer(self, document: Document, name: str, present: bool) -> None:
        """Add or remove a finalizer; the last one removed of a deleted object lets it go."""
        row = self._rows.get(document.ref)
        if row is None or row.document.uid != document.uid:
            return
        others = tuple(f for f in row.document.finalizers if f != name)
        finalizers = (*others, name) if present else others
        if row.document.deleting is not None and not finalizers:
            self._remove(document.ref)
        elif finalizers != row.document.finalizers:
            self._store(Row(replace(row.document, finalizers=finalizers), row.file))

    async def record_event(self, ref: Ref, type_: str, reason: str, message: str) -> None:
        """Record an event; the same again only counts."""
        self._database.add_event(ref, type_, reason, message[:MAX_MESSAGE], datetime.now(UTC))
        self._touch(ref)

    # What the agent's socket uses

    def objects(self, kind: str | None, namespace: str | None) -> Objects:
        """Kubernetes-shaped objects, in order of kind, namespace, name."""
        wanted = [r for r in self._rows if kind in (None, r.kind) and namespace in (None, r.namespace)]
        return [as_object(self._rows[ref].document) for ref in sorted(wanted)]

    def object(self, ref: Ref) -> dict[str, Any] | None:
        """One object."""
        row = self._rows.get(ref)
        return as_object(row.document) if row else None

    def events(self, kind: str | None, namespace: str | None, name: str | None) -> Objects:
        """Events, oldest first."""
        return self._database.events(kind, namespace, name)

    async def watch(self, since: int, wait: float) -> dict[str, Any]:
        """Refs that changed after version `since` (status and events included); waits until there is one.
        `reset`: the caller has to read everything again.
        """
        oldest = self._recent[0][0] if self._recent else self._version + 1
        if since > self._version or since + 1 < min(oldest, self._first_version + 1):
            return {"next": self._version, "reset": True, "refs": []}
        if since == self._version:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait)
        refs = OrderedDict.fromkeys(str(ref) for version, ref in self._recent if version > since)
        return {"next": self._version, "reset": False, "refs": list(refs)}

    def apply(self, documents: Sequence[Mapping[str, Any]], source: str) -> Applied:
        """Write documents as files, all or nothing: `created`, `configured` or `unchanged` each.
        DocumentsRefused lists every error; PortError `SourceMissing` while the directory is not there.
        """
        raws = [RawDocument(source, number, 1, value) for number, value in enumerate(documents, 1)]
        fleet = parse_all(raws)
        self.rescan()
        if self.source == "Missing":
            raise PortError("SourceMissing", f"{self._folder} is missing or empty; bring it back first")
        rule, remedy = f"documents here are of {API_VERSION}", "apply it elsewhere"
        errors = [DocumentError(source, raw.label, "apiVersion", rule, remedy) for raw in fleet.foreign]
        writes: list[tuple[Ref, str, Path | None, Parsed]] = []
        for parsed in fleet.documents:
            verdict, path, found = self._judge(parsed, source)
            errors += found
            writes.append((parsed.ref, verdict, path, parsed))
        if errors:
            raise DocumentsRefused(errors)
        for _, _, path, parsed in writes:
            if path is not None:
                write_file(path, document_text(parsed.as_object()))
        self.rescan()
        return [(ref, verdict) for ref, verdict, _, _ in writes]

    def _judge(self, parsed: Parsed, source: str) -> tuple[str, Path | None, tuple[DocumentError, ...]]:
        """What applying a document does, the file to write (None: nothing to write), and what forbids it."""
        ref, row = parsed.ref, self._rows.get(parsed.ref)
        entry = self.scan.documents.get(ref)
        if entry is not None and _same(entry[0], parsed) and row is not None:
            return "unchanged", None, ()
        if row is not None:
            problems = transition_problems(parsed.kind, row.document.spec, parsed.spec)
            if problems:
                return "", None, transition_errors(source, parsed, problems)
        verdict = "created" if row is None or entry is None else "configured"
        files = self.scan.twice.get(ref) or ((entry[1],) if entry else ())
        if not files:
            name = f"{ref.namespace}.{ref.kind.lower()}.{ref.name}.yaml"
            if name in self.scan.broken:
                return "", None, (self._refused(source, parsed, name, "which has errors"),)
            return verdict, self._folder / name, ()
        if len(files) > 1 or self.scan.objects.get(files[0], 0) != 1:
            return "", None, (self._refused(source, parsed, ", ".join(files), "with other objects"),)
        return verdict, self._folder / files[0], ()

    def _refused(self, source: str, parsed: Parsed, files: str, why: str) -> DocumentError:
        rule = f"{parsed.ref} is written in {files} below {self._folder}, {why}"
        return DocumentError(source, parsed.raw.label, "", rule, "edit it there")

    def delete(self, ref: Ref) -> bool:
        """Remove an object and its file; False: there is none. PortError `Conflict`: its file holds more."""
        self.rescan()
        row = self._rows.get(ref)
        if row is None:
            return False
        entry = self.scan.documents.get(ref)
        if ref in self.scan.twice or (entry is None and row.file in self.scan.broken):
            files = ", ".join(self.scan.twice.get(ref, (row.file,)))
            raise PortError(
                "Conflict", f"{ref} is written in {files} below {self._folder}; mend or remove it there"
            )
        if entry is not None:
            if self.scan.objects.get(entry[1], 0) != 1:
                raise PortError(
                    "Conflict",
                    f"{ref} is written in {self._folder / entry[1]} with other objects; remove it there",
                )
            remove_file(self._folder / entry[1])
        self.rescan(on_purpose=frozenset({ref}))
        return True

    # Following the files

    async def follow(self, stop: asyncio.Event) -> None:
        """Rescan when files change, and now and then anyway, until `stop`."""
        while not stop.is_set():
            folders = [str(f) for f in (self._folder, *self._watched) if f.is_dir()]
            pause = (
                SETTLE_SECONDS
                if self._missing_since.keys() - self._held or not self._folder.is_dir()
                else RESCAN_SECONDS
            )
            await self._changes_or(stop, folders, pause)
            self.rescan()

    async def _changes_or(self, stop: asyncio.Event, folders: Sequence[str], seconds: float) -> None:
        """Wait for a change of a file, or some seconds."""
        done = asyncio.Event()
        waiter = asyncio.create_task(_either(stop, seconds, done))
        try:
            if folders:
                async for changed in awatch(*folders, stop_event=done, step=50, debounce=200, recursive=True):
                    if any(_below(path, folder) for _, path in changed for folder in self._watched):
                        self._mark(*(r for r in self._rows if r.kind == "RopServer"))
                    return
            await waiter
        except OSError as error:  # no more watches: files are read on time then
            log.warning("files cannot be watched, reading them every second: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), SETTLE_SECONDS)
        finally:
            done.set()
            waiter.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiter

    def rescan(self, on_purpose: frozenset[Ref] = frozenset()) -> None:
        """Read every file and accept what is good. `on_purpose`: objects deleted by a command just now."""
        scan = self._directory.scan()
        for ref, (parsed, name) in list(scan.documents.items()):
            row = self._rows.get(ref)
            problems = transition_problems(parsed.kind, row.document.spec, parsed.spec) if row else []
            if problems:
                scan.break_file(name, transition_errors(name, parsed, problems))
        self.scan = scan
        for ref, (parsed, name) in scan.documents.items():
            self._accept(ref, parsed, name)
        self._delete_missing(scan, on_purpose)
        self._report(scan)

    def _accept(self, ref: Ref, parsed: Parsed, name: str) -> None:
        row = self._rows.get(ref)
        self._missing_since.pop(ref, None)
        self._held.discard(ref)
        if row is None:
            document = Document(
                ref,
                str(uuid.uuid4()),
                1,
                parsed.spec,
                {},
                parsed.annotations,
                parsed.labels,
                created=datetime.now(UTC),
            )
            self._store(Row(document, name))
            return
        old = row.document
        new = replace(
            old,
            spec=parsed.spec,
            generation=old.generation + (old.spec != parsed.spec),
            labels=parsed.labels,
            annotations=parsed.annotations,
            deleting=None,
        )
        if new != old:
            self._store(Row(new, name))
        elif row.file != name:
            self._rows[ref] = Row(old, name)
            self._database.put(old, name)

    def _delete_missing(self, scan: Scan, on_purpose: frozenset[Ref]) -> None:
        missing = [
            r
            for r, row in self._rows.items()
            if r not in scan.documents and r not in scan.twice and row.document.deleting is None
        ]
        empty = scan.missing or not (scan.documents or scan.twice or scan.broken)
        self.source = "Missing" if empty and missing and set(missing) - on_purpose else "Ok"
        now = self._clock()
        held = self.source == "Missing" or bool(scan.broken)
        for ref in missing:
            settled = not held and now - self._missing_since.setdefault(ref, now) >= SETTLE_SECONDS
            if ref not in on_purpose and not settled:
                continue
            refused = None if ref in on_purpose else deletion_refused(self._rows[ref].document)
            if refused is not None:
                self._hold(ref, refused)
                continue
            self._missing_since.pop(ref, None)
            self._begin_deletion(self._rows[ref])
        if held:
            self._missing_since.clear()

    def _hold(self, ref: Ref, refused: str) -> None:
        """A document that may not go without an acknowledgement stays as it was; told once."""
        if ref not in self._held:
            log.warning("%s is missing in %s and stays: %s", ref, self._folder, refused)
            text = f"missing in {self._folder}; put it back: {refused}"
            self._database.add_event(
                ref, "Warning", "AcknowledgementMissing", text[:MAX_MESSAGE], datetime.now(UTC)
            )
            self._held.add(ref)

    def _begin_deletion(self, row: Row) -> None:
        if row.document.finalizers:
            self._store(Row(replace(row.document, deleting=datetime.now(UTC)), row.file))
        else:
            self._remove(row.document.ref)

    def _report(self, scan: Scan) -> None:
        """Tell of every error once."""
        errors = {str(error): error for error in scan.errors()}
        for text, error in errors.items():
            if text in self._told:
                continue
            log.warning("document refused: %s", text)
            for ref, row in self._rows.items():
                if row.file == error.file:
                    self._database.add_event(
                        ref, "Warning", "DocumentRefused", text[:MAX_MESSAGE], datetime.now(UTC)
                    )
        source = f"source {self.source}"
        if self.source == "Missing" and source not in self._told:
            message = f"{self._folder} is missing or empty: nothing is deleted until it is back"
            log.warning(message)
            for ref in self._rows:
                if ref.kind == "RopServer":
                    self._database.add_event(ref, "Warning", "SourceMissing", message, datetime.now(UTC))
        self._told = {*errors, source}

    # Memory and disk together

    def _store(self, row: Row, notify: bool = True) -> None:
        ref = row.document.ref
        self._version += 1
        stored = Row(replace(row.document, resource_version=str(self._version)), row.file)
        self._database.put(stored.document, stored.file)
        self._rows[ref] = stored
        self._recent.append((self._version, ref))
        self._news.set()
        if notify:
            self._mark(ref)

    def _remove(self, ref: Ref) -> None:
        self._database.remove(ref)
        del self._rows[ref]
        self._touch(ref)
        self._mark(ref)

    def _touch(self, ref: Ref) -> None:
        self._version += 1
        self._recent.append((self._version, ref))
        self._news.set()

    def _mark(self, *refs: Ref) -> None:
        self._changed.update(dict.fromkeys(refs))
        self._wake.set()


async def _either(stop: asyncio.Event, seconds: float, done: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    done.set()


def _below(path: str, folder: Path) -> bool:
    return Path(path).is_relative_to(folder)


def _same(one: Parsed, other: Parsed) -> bool:
    return one.spec == other.spec and one.labels == other.labels and one.annotations == other.annotations


def as_object(document: Document) -> dict[str, Any]:
    """The document in the shape that kubectl shows."""
    metadata: dict[str, Any] = {
        "name": document.ref.name,
        "namespace": document.ref.namespace,
        "uid": document.uid,
        "generation": document.generation,
        "resourceVersion": document.resource_version,
    }
    if document.created is not None:
        metadata["creationTimestamp"] = timestamp(document.created)
    if document.deleting is not None:
        metadata["deletionTimestamp"] = timestamp(document.deleting)
    optional = {
        "finalizers": list(document.finalizers),
        "labels": dict(document.labels),
        "annotations": dict(document.annotations),
    }
    metadata |= {name: value for name, value in optional.items() if value}
    kind = {"apiVersion": API_VERSION, "kind": document.ref.kind, "metadata": metadata}
    return {**kind, "spec": dict(document.spec), "status": dict(document.status)}
