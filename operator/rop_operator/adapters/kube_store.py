"""Documents on a cluster: a cache fed by watches, status by server-side apply, events as core/v1 Events."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rop_operator.adapters.kube_api import (
    APPLY,
    FIELD_MANAGER,
    MERGE,
    METADATA_LIST,
    KubeApi,
    KubeError,
)
from rop_operator.api.facts import Document, Ref
from rop_operator.api.registry import API_VERSION, GROUP, KINDS, VERSION, kind_of
from rop_operator.ports import PortError

log = logging.getLogger(__name__)

KIND_NAMES = tuple(row.kind for row in KINDS)
PAGE = 500
ATTEMPTS = 4
EVENTS_REMEMBERED = 1000
MESSAGE_LIMIT = 1000
TOMBSTONES = 10_000
Object = dict[str, Any]


def object_path(kind: str, namespace: str, name: str | None = None, sub: str | None = None) -> str:
    """Path of one of our objects, or of their collection."""
    row = kind_of(kind)
    assert row is not None, kind
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{row.plural}"
    return path + (f"/{name}" if name else "") + (f"/{sub}" if sub else "")


def moment(text: str | None) -> datetime | None:
    """A Kubernetes time stamp."""
    return datetime.fromisoformat(text) if text else None


def ref_of(item: Mapping[str, Any]) -> Ref:
    """Identity of an object of ours."""
    metadata = item["metadata"]
    return Ref(item["kind"], metadata.get("namespace", ""), metadata["name"])


def document_of(item: Mapping[str, Any]) -> Document:
    """An object of the API server as the engine sees it."""
    metadata = item["metadata"]
    return Document(
        ref=ref_of(item),
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        spec=item.get("spec") or {},
        status=item.get("status") or {},
        annotations=metadata.get("annotations") or {},
        labels=metadata.get("labels") or {},
        finalizers=tuple(metadata.get("finalizers") or ()),
        created=moment(metadata.get("creationTimestamp")),
        deleting=moment(metadata.get("deletionTimestamp")),
        resource_version=metadata.get("resourceVersion", ""),
    )


def version_of(item: Mapping[str, Any]) -> int:
    """The resource version as a number: monotonic per API server, so that the newer of two copies is known."""
    text = item["metadata"].get("resourceVersion") or "0"
    return int(text) if text.isdigit() else 0


class ObjectCache:
    """Newest known copy of every object of some kinds. A copy that is older than the known one changes nothing."""

    def __init__(self) -> None:
        self._items: dict[Ref, Object] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()

    def put(self, item: Object) -> bool:
        """Remember a copy; True when it is news."""
        ref, uid = ref_of(item), item["metadata"]["uid"]
        known = self._items.get(ref)
        if uid in self._gone or (known is not None and version_of(known) >= version_of(item)):
            return False
        item["metadata"].pop("managedFields", None)
        self._items[ref] = item
        return True

    def drop(self, ref: Ref, uid: str | None) -> bool:
        """Forget a deleted object for good; True when it was known."""
        if uid is not None:
            self._gone[uid] = None
            while len(self._gone) > TOMBSTONES:
                self._gone.popitem(last=False)
        known = self._items.get(ref)
        if known is None or (uid is not None and known["metadata"]["uid"] != uid):
            return False
        del self._items[ref]
        return True

    def get(self, ref: Ref) -> Object | None:
        """The newest known copy."""
        return self._items.get(ref)

    def items(self, kind: str, namespace: str | None = None) -> list[Object]:
        """All of a kind, in order of their names."""
        found = (r for r in self._items if r.kind == kind and namespace in (None, r.namespace))
        return [self._items[r] for r in sorted(found)]


class KubeStore:
    """`Store` of the engine. Watches call `seen`; `guard` says whether this process still leads."""

    def __init__(self, api: KubeApi, namespaces: Sequence[str], guard: Callable[[], bool] = lambda: True) -> None:
        self._api = api
        self._namespaces = tuple(namespaces)
        self._guard = guard
        self._cache = ObjectCache()
        self._changed: OrderedDict[Ref, None] = OrderedDict()
        self._wake = asyncio.Event()
        self._events: OrderedDict[tuple[Any, ...], tuple[str, int]] = OrderedDict()

    async def load(self) -> None:
        """List everything once. PortError `CRDMissing` when the cluster does not know our kinds."""
        for kind in KIND_NAMES:
            for namespace in self._namespaces:
                try:
                    async for item in self._pages(object_path(kind, namespace)):
                        self.seen("ADDED", {"apiVersion": API_VERSION, "kind": kind, **item})
                except KubeError as error:
                    if error.status != 404:
                        raise
                    raise PortError(
                        "CRDMissing",
                        f"the cluster does not know {kind} ({API_VERSION}); apply the files of crds/ first",
                    ) from None

    async def _pages(self, path: str, accept: str = "application/json") -> AsyncIterator[Object]:
        token = ""
        while True:
            params = {"limit": str(PAGE)} | ({"continue": token} if token else {})
            answer = await self._api.request("GET", path, params=params, accept=accept)
            for item in answer.get("items") or ():
                yield item
            token = answer.get("metadata", {}).get("continue") or ""
            if not token:
                return

    def seen(self, type_: str | None, item: Object) -> None:
        """A watch told of an object: `type_` ADDED, MODIFIED, DELETED or None (it was there already)."""
        ref = ref_of(item)
        gone = type_ == "DELETED"
        if self._cache.drop(ref, item["metadata"]["uid"]) if gone else self._cache.put(item):
            self._enqueue(ref)

    def secret_changed(self, namespace: str, name: str) -> None:
        """A Secret changed: whatever refers to it is looked at again."""
        for kind in KIND_NAMES:
            for item in self._cache.items(kind, namespace):
                if name in referred(item.get("spec") or {}):
                    self._enqueue(ref_of(item))

    def _enqueue(self, ref: Ref) -> None:
        self._changed[ref] = None
        self._wake.set()

    async def changes(self) -> AsyncIterator[Ref]:
        """Every ref once, then each ref whose document or Secret changed; a burst of one ref comes once."""
        while True:
            while self._changed:
                ref, _ = self._changed.popitem(last=False)
                yield ref
            self._wake.clear()
            if not self._changed:
                await self._wake.wait()

    async def get(self, ref: Ref) -> Document | None:
        """The newest version that this process saw or wrote."""
        item = self._cache.get(ref)
        return None if item is None else document_of(item)

    async def list(self, kind: str, namespace: str | None = None) -> Sequence[Document]:
        """All documents of a kind in the served namespaces."""
        return [document_of(item) for item in self._cache.items(kind, namespace)]

    async def put_status(self, document: Document, status: Mapping[str, Any]) -> None:
        """Replace the status: server-side apply with one field manager, so that members left out disappear.

        The resource version keeps it from landing on a new object of the same name.
        """
        ref = document.ref
        path = object_path(ref.kind, ref.namespace, ref.name, "status")
        params = {"fieldManager": FIELD_MANAGER, "force": "true"}
        for attempt in range(ATTEMPTS):
            self._check_leading()
            known = self._cache.get(ref)
            if known is None or known["metadata"]["uid"] != document.uid:
                return
            version = known["metadata"]["resourceVersion"]
            metadata = {"name": ref.name, "namespace": ref.namespace, "resourceVersion": version}
            body = {"apiVersion": API_VERSION, "kind": ref.kind, "metadata": metadata, "status": status}
            try:
                answer = await self._api.request("PATCH", path, params=params, body=body, content_type=APPLY)
            except KubeError as error:
                if error.status not in (404, 409) or attempt == ATTEMPTS - 1:
                    raise
                await self._fetch(ref)
            else:
                self._cache.put(answer)
                return

    async def set_finalizer(self, document: Document, name: str, present: bool) -> None:
        """Add or remove a finalizer; a concurrent writer makes us look again."""
        ref = document.ref
        path = object_path(ref.kind, ref.namespace, ref.name)
        for attempt in range(ATTEMPTS):
            self._check_leading()
            known = self._cache.get(ref)
            if known is None or known["metadata"]["uid"] != document.uid:
                return
            finalizers: list[str] = known["metadata"].get("finalizers") or []
            if (name in finalizers) == present:
                return
            wanted = [*finalizers, name] if present else [f for f in finalizers if f != name]
            version = known["metadata"]["resourceVersion"]
            body = {"metadata": {"resourceVersion": version, "finalizers": wanted}}
            try:
                answer = await self._api.request("PATCH", path, body=body, content_type=MERGE)
            except KubeError as error:
                if error.status not in (404, 409) or attempt == ATTEMPTS - 1:
                    raise
                await self._fetch(ref)
            else:
                self._keep(ref, answer, gone=not wanted and document.deleting is not None)
                return

    def _keep(self, ref: Ref, answer: Object, gone: bool) -> None:
        """Remember an answer; without its last finalizer a deleted object is gone."""
        if gone:
            self._cache.drop(ref, answer["metadata"]["uid"])
            self._enqueue(ref)
        else:
            self._cache.put(answer)

    def _check_leading(self) -> None:
        if not self._guard():
            raise PortError("NotLeader", "another operator may lead now; nothing is written")

    async def record_event(self, ref: Ref, type_: str, reason: str, message: str) -> None:
        """A core/v1 Event; a repeated one counts up instead."""
        message = message[:MESSAGE_LIMIT]
        key = (ref, type_, reason, message)
        try:
            await self._count_or_create(key, ref, type_, reason, message)
        except PortError as error:
            log.info("event not recorded: %s", error.message)

    async def _count_or_create(
        self, key: tuple[Any, ...], ref: Ref, type_: str, reason: str, message: str
    ) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        base = f"/api/v1/namespaces/{ref.namespace}/events"
        if key in self._events:
            name, count = self._events[key]
            try:
                body = {"count": count + 1, "lastTimestamp": now}
                await self._api.request("PATCH", f"{base}/{name}", body=body, content_type=MERGE)
                self._events[key] = (name, count + 1)
                self._events.move_to_end(key)
                return
            except KubeError as error:
                if error.status != 404:
                    raise
        name = f"{ref.name}.{uuid.uuid4().hex[:16]}"
        item = self._cache.get(ref)
        about = {"apiVersion": API_VERSION, "kind": ref.kind, "namespace": ref.namespace, "name": ref.name}
        if item is not None:
            about["uid"] = item["metadata"]["uid"]
        body = {
            "metadata": {"name": name, "namespace": ref.namespace},
            "involvedObject": about,
            "type": type_,
            "reason": reason,
            "message": message,
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._api.request("POST", base, body=body)
        self._events[key] = (name, 1)
        while len(self._events) > EVENTS_REMEMBERED:
            self._events.popitem(last=False)

    async def resync(self) -> int:
        """Compare the cache with a listing of metadata; heals what a watch lost. Returns how many differed."""
        healed = 0
        for kind in KIND_NAMES:
            for namespace in self._namespaces:
                listed: set[Ref] = set()
                known = {ref_of(item): item for item in self._cache.items(kind, namespace)}
                async for item in self._pages(object_path(kind, namespace), METADATA_LIST):
                    ref = Ref(kind, namespace, item["metadata"]["name"])
                    listed.add(ref)
                    mine = known.get(ref)
                    if mine is None or version_of(mine) < version_of(item):
                        healed += await self._fetch(ref)
                for ref in known.keys() - listed:
                    healed += await self._fetch(ref)
        return healed

    async def _fetch(self, ref: Ref) -> int:
        known = self._cache.get(ref)
        try:
            item = await self._api.request("GET", object_path(ref.kind, ref.namespace, ref.name))
        except KubeError as error:
            if error.status != 404:
                raise
            if known is None or not self._cache.drop(ref, known["metadata"]["uid"]):
                return 0
        else:
            if not self._cache.put(item):
                return 0
        self._enqueue(ref)
        return 1


def referred(spec: Any) -> set[str]:
    """Names of the Secrets that a spec refers to: `{name, key}` below a member that ends in `Ref`."""
    return set(_referred(spec))


def _referred(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for member, inner in value.items():
            if member.endswith("Ref") and isinstance(inner, Mapping) and "key" in inner:
                yield str(inner.get("name", ""))
            yield from _referred(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _referred(inner)
