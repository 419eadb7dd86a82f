"""Core servers as pods. They outlive the operator: everything that is needed is on the API server."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from rop_operator.adapters.kube_api import KubeApi, KubeError
from rop_operator.adapters.kube_manifests import children
from rop_operator.adapters.kube_names import KEYS, MANAGE_PORT, TEMPLATE, Manifest, Settings, Subject, digest
from rop_operator.adapters.kube_objects import KubeObjects, named, path_of
from rop_operator.adapters.kube_podstate import pod_trouble, ready
from rop_operator.api.facts import Document, Ref
from rop_operator.api.server import RopServerSpec
from rop_operator.ports import Drift, Endpoint, PortError, RuntimeState

log = logging.getLogger(__name__)

MANAGE_URL = "https://{name}-inside.{namespace}.svc:{port}"
# The certificate of the management interface is made in the pod, which does not know its Service's name.
MANAGE_SERVER_NAME = "localhost"
DRIFT_EVERY = 15.0
_NO_SPEC = RopServerSpec(host="none")
Find = Callable[[Ref], Awaitable[Document | None]]


class KubeRuntime:
    """`Runtime` on a cluster. `find` gives the document of a server; `guard` says whether this process leads.

    Drift is looked for at most every `drift_every` seconds, because a busy server is reconciled far more often.
    """

    def __init__(
        self,
        api: KubeApi,
        find: Find,
        settings: Settings,
        guard: Callable[[], bool] = lambda: True,
        manage_url: str = MANAGE_URL,
        drift_every: float = DRIFT_EVERY,
    ) -> None:
        self._objects = KubeObjects(api)
        self._find = find
        self._settings = settings
        self._guard = guard
        self._manage_url = manage_url
        self._drift_every = drift_every
        self._seen: dict[Ref, tuple[float, int, Drift]] = {}

    async def ensure(self, ref: Ref, members: Mapping[str, Any], environment: Mapping[str, str]) -> RuntimeState:
        """Make what is missing, repair what differs, and say how the pod is."""
        self._seen.pop(ref, None)
        try:
            return await self._ensure(ref, members, environment)
        except KubeError as error:
            return RuntimeState("Failed", error.message)

    async def _ensure(self, ref: Ref, members: Mapping[str, Any], environment: Mapping[str, str]) -> RuntimeState:
        document = await self._document(ref)
        first = {"members.json": json.dumps(dict(members)), "environment.json": json.dumps(dict(environment))}
        subject = await self._subject(document, f"{ref.name}-first-{digest(first)}")
        for manifest in self._secrets(subject, first):
            if await self._objects.metadata(manifest) is None:
                self._check_leading()
                await self._objects.create(manifest)
        for manifest in await self._objects.differing(children(subject, self._settings)):
            self._check_leading()
            log.info("%s: apply %s", ref, named(manifest))
            await self._objects.apply(manifest)
        for manifest in await self._superfluous(subject):
            self._check_leading()
            await self._objects.delete(manifest, manifest["metadata"]["uid"])
        return await self._state(subject)

    async def _document(self, ref: Ref) -> Document:
        document = await self._find(ref)
        if document is None or document.deleting is not None:
            raise PortError("ServerNotFound", f"{ref} is gone")
        return document

    async def _subject(self, document: Document, config: str) -> Subject:
        """The document with what the cluster knows of its server. `config` counts before the first start only."""
        try:
            plain = Subject.of(document)
        except ValidationError as error:
            raise PortError("Invalid", f"{document.ref}: {error.error_count()} rules are broken") from None
        keys = await self._keys(plain)
        if len(keys) > 1 or not config:
            workload = await self._objects.get(plain.child("apps/v1", "StatefulSet", plain.name, {}))
            template = (workload or {}).get("spec", {}).get("template")
            config = _first_of(template) or _first_of(await self._objects.get(_pod(plain))) or config
        return replace(plain, config=config, keys=keys)

    async def _keys(self, subject: Subject) -> tuple[str, ...]:
        """Names of the Secrets with keys; the last one is the next to be filled, by the pod."""
        names: list[str] = []
        while True:
            name = subject.called(f"keys-{len(names) + 1}")
            names.append(name)
            found = await self._objects.metadata(subject.child("v1", "Secret", name, {}, kept=True))
            if found is None or KEYS not in (found.get("annotations") or {}):
                return tuple(names)

    def _secrets(self, subject: Subject, first: Mapping[str, str]) -> list[Manifest]:
        """What is made once and never written again by us: the first start's members, empty ones for the pod."""
        data = {key: base64.b64encode(value.encode()).decode() for key, value in first.items()}
        found = [
            subject.child("v1", "Secret", subject.called("manage"), {"type": "Opaque"}, kept=True),
            subject.child("v1", "Secret", subject.keys[-1], {"type": "Opaque"}, kept=True),
        ]
        if len(subject.keys) == 1:
            body = {"type": "Opaque", "immutable": True, "data": data}
            found.append(subject.child("v1", "Secret", subject.config, body))
        return found

    async def _superfluous(self, subject: Subject) -> list[Manifest]:
        """Children that the document no longer asks for."""
        wanted = {path_of(manifest) for manifest in children(subject, self._settings)}
        devices = subject.child("v1", "Service", subject.called("devices"), {})
        if path_of(devices) in wanted:
            return []
        live = await self._objects.get(devices)
        ours = live is not None and subject.selector.items() <= (live["metadata"].get("labels") or {}).items()
        return [{**devices, "metadata": live["metadata"]}] if live is not None and ours else []

    async def _state(self, subject: Subject) -> RuntimeState:
        pod = await self._objects.get(_pod(subject))
        if pod is None:
            return RuntimeState("Starting", "the pod is not made yet")
        if await self._is_outdated(subject, pod) and not ready(pod):
            await self._replace(subject, pod, "its template changed before it was ready")
            return RuntimeState("Starting", "the pod is replaced")
        endpoint = await self._endpoint(subject)
        trouble = pod_trouble(pod)
        if trouble is not None:
            return RuntimeState("Failed", trouble, endpoint)
        if endpoint is None and ready(pod):
            await self._replace(subject, pod, f"Secret {subject.called('manage')} lost its token")
            return RuntimeState("Starting", "the pod is replaced, so that it tells its token again")
        return RuntimeState("Running" if ready(pod) else "Starting", None, endpoint)

    async def _endpoint(self, subject: Subject) -> Endpoint | None:
        """How to reach it: what the pod wrote into its Secret."""
        secret = subject.child("v1", "Secret", subject.called("manage"), {}, kept=True)
        data = (await self._objects.get(secret) or {}).get("data") or {}
        try:
            authority, token = (base64.b64decode(data[key]) for key in ("ca.crt", "token"))
            url = self._manage_url.format(name=subject.name, namespace=subject.namespace, port=MANAGE_PORT)
            return Endpoint(url, "Management", authority, token.decode("ascii").strip(), MANAGE_SERVER_NAME)
        except (KeyError, ValueError):
            return None

    async def _is_outdated(self, subject: Subject, pod: Manifest) -> bool:
        manifest = children(subject, self._settings)[-1]
        wanted = manifest["spec"]["template"]["metadata"]["annotations"][TEMPLATE]
        return bool((pod["metadata"].get("annotations") or {}).get(TEMPLATE) != wanted)

    async def _replace(self, subject: Subject, pod: Manifest, why: str) -> None:
        if "deletionTimestamp" in pod["metadata"]:
            return
        self._check_leading()
        log.info("%s/%s: the pod is replaced: %s", subject.namespace, subject.name, why)
        await self._objects.delete(_pod(subject), pod["metadata"]["uid"])

    async def drift(self, ref: Ref) -> Drift:
        """Children that differ, and a pod of an older template."""
        document = await self._document(ref)
        now = asyncio.get_running_loop().time()
        known = self._seen.get(ref)
        if known is not None and now - known[0] < self._drift_every and known[1] == document.generation:
            return known[2]
        subject = await self._subject(document, "")
        manifests = children(subject, self._settings)
        parts = [named(each) for each in await self._objects.differing(manifests)]
        parts += [named(each) for each in await self._superfluous(subject)]
        for name in (subject.called("manage"), subject.keys[-1]):
            if await self._objects.metadata(subject.child("v1", "Secret", name, {}, kept=True)) is None:
                parts.append(f"Secret {name}")
        pod = await self._objects.get(_pod(subject))
        outdated = pod is not None and await self._is_outdated(subject, pod)
        drift = Drift(tuple(parts), f"a newer template of Pod {subject.name}-0" if outdated else None)
        self._seen[ref] = (now, document.generation, drift)
        return drift

    async def restart(self, ref: Ref) -> RuntimeState:
        """Delete the pod; its StatefulSet makes another from the newest template."""
        self._seen.pop(ref, None)
        subject = await self._subject(await self._document(ref), "")
        pod = await self._objects.get(_pod(subject))
        if pod is not None:
            await self._replace(subject, pod, "asked for")
        return RuntimeState("Starting", "the pod is replaced", await self._endpoint(subject))

    async def stop(self, ref: Ref) -> None:
        """Delete what serves. The volume and the Secrets with keys stay: the same name finds them again."""
        self._seen.pop(ref, None)
        subject = Subject(ref.namespace, ref.name, "", _NO_SPEC)
        for manifest in reversed(children(subject, self._settings)):
            if manifest["kind"] != "PersistentVolumeClaim":
                self._check_leading()
                await self._objects.delete(manifest)

    def _check_leading(self) -> None:
        if not self._guard():
            raise PortError("NotLeader", "another operator may lead now; nothing is written")


def _pod(subject: Subject) -> Manifest:
    """Where its pod is."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": subject.namespace, "name": f"{subject.name}-0"},
    }


def _first_of(template: Manifest | None) -> str | None:
    """Name of the Secret of the first start in a pod or its template."""
    volumes = (template or {}).get("spec", {}).get("volumes") or ()
    named_so = (volume.get("secret", {}).get("secretName") for volume in volumes if volume["name"] == "first")
    return next(named_so, None)
