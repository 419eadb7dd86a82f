"""Documents and secrets in memory, as a `Store` and `Secrets` of the engine; loaded by conftest.py."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rop_operator.api.facts import Document, Ref
from rop_operator.ports import PortError


class MemoryStore:
    """Documents in a dict; everything written is remembered in order."""

    def __init__(self) -> None:
        self.documents: dict[Ref, Document] = {}
        self.statuses: list[tuple[Ref, Mapping[str, Any]]] = []
        self.events: list[tuple[Ref, str, str, str]] = []
        self._changed: OrderedDict[Ref, None] = OrderedDict()
        self._wake = asyncio.Event()
        self._created = datetime(2026, 1, 1, tzinfo=UTC)
        self.fail_put: Callable[[Ref, Mapping[str, Any]], None] = lambda ref, status: None

    def apply(self, ref: Ref, spec: dict[str, Any], **members: Any) -> None:
        known = self.documents.get(ref)
        if known is None:
            self._created += timedelta(seconds=1)
            known = Document(ref, f"uid-{len(self.documents)}", 0, {}, {}, created=self._created)
        changed = known.spec != spec
        generation = known.generation + 1 if changed else known.generation
        self.documents[ref] = replace(known, spec=spec, generation=generation, **members)
        self.changed(ref)

    def delete(self, ref: Ref) -> None:
        known = self.documents[ref]
        if known.finalizers:
            self.documents[ref] = replace(known, deleting=datetime.now(UTC))
        else:
            del self.documents[ref]
        self.changed(ref)

    def changed(self, ref: Ref) -> None:
        self._changed[ref] = None
        self._wake.set()

    def restart(self) -> None:
        """What a new engine sees first: every document."""
        self._wake = asyncio.Event()
        for ref in self.documents:
            self.changed(ref)

    async def changes(self) -> AsyncIterator[Ref]:
        while True:
            while self._changed:
                yield self._changed.popitem(last=False)[0]
            self._wake.clear()
            await self._wake.wait()

    async def get(self, ref: Ref) -> Document | None:
        return self.documents.get(ref)

    async def list(self, kind: str, namespace: str | None = None) -> Sequence[Document]:
        return [d for d in self.documents.values() if d.ref.kind == kind]

    async def put_status(self, document: Document, status: Mapping[str, Any]) -> None:
        self.fail_put(document.ref, status)
        if document.ref in self.documents:
            self.documents[document.ref] = replace(self.documents[document.ref], status=dict(status))
            self.statuses.append((document.ref, dict(status)))

    async def set_finalizer(self, document: Document, name: str, present: bool) -> None:
        known = self.documents.get(document.ref)
        if known is None:
            return
        finalizers = (name,) if present else ()
        if known.deleting is not None and not finalizers:
            del self.documents[document.ref]
        else:
            self.documents[document.ref] = replace(known, finalizers=finalizers)
        self.changed(document.ref)

    async def record_event(self, ref: Ref, type_: str, reason: str, message: str) -> None:
        self.events.append((ref, type_, reason, message))


class Secrets:
    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def read(self, namespace: str, name: str, key: str) -> bytes:
        if f"{name}.{key}" not in self.values:
            raise PortError("SecretNotFound", f"no secret {name}")
        return self.values[f"{name}.{key}"]
