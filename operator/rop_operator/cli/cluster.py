"""A cluster: its API server, with the rights of whoever runs the command."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rop_operator.adapters.fleet import HttpFleet
from rop_operator.adapters.fleet_management import ManagementServer
from rop_operator.adapters.kube_api import APPLY, KubeApi, KubeError, load_credentials
from rop_operator.adapters.kube_secrets import REFERABLE, KubeSecrets
from rop_operator.adapters.kube_store import document_of, moment, object_path
from rop_operator.api.facts import DeviceFacts, Found, Ref, Session
from rop_operator.api.questions import AS_MANAGER, Question
from rop_operator.api.registry import API_VERSION, GROUP, KINDS, VERSION, Kind, kind_of
from rop_operator.cli.backend import Applied, ApplyRefused, Check, EventRow, Object, Refusal, ref_of
from rop_operator.domain.deletion import deletion_refused
from rop_operator.ports import Endpoint, PortError, Server

FIELD_MANAGER = "ropctl"
PAGE = 500
LEASE_NAME = "rop-operator"
_VALUE = r'"(?:[^"\\]|\\.)*"|[\[{].*?[\]}]|-?[0-9][-+.0-9eE]*|true|false|null'
_INVALID = re.compile(rf"^Invalid value: (?:(?:{_VALUE}): )?", re.DOTALL)
# "a/b" is invalid: [spec.uid: Invalid value: ...] and the like: what remains when there are no causes.
_PREFIX = re.compile(r'^\S+ "[^"]*" is invalid: ')


class ClusterBackend:
    """Talks to an API server as the user of a kubeconfig."""

    def __init__(self, kubeconfig: str | None, context: str | None) -> None:
        self._api = KubeApi(lambda: load_credentials(kubeconfig, context))

    async def namespace(self) -> str:
        """The namespace of the context."""
        return (await self._api.credentials()).namespace or "default"

    async def list(self, kind: str, namespace: str | None) -> Sequence[Object]:
        """Objects of a kind."""
        path = _collection(_row(kind), namespace)
        found: list[Object] = []
        token = ""
        while True:
            params = {"limit": str(PAGE)} | ({"continue": token} if token else {})
            answer = await self._api.request("GET", path, params=params)
            found += [{"apiVersion": API_VERSION, "kind": kind, **item} for item in answer.get("items") or ()]
            token = answer.get("metadata", {}).get("continue") or ""
            if not token:
                return sorted(found, key=ref_of)

    async def get(self, ref: Ref) -> Object | None:
        """One object."""
        try:
            return await self._api.request("GET", object_path(ref.kind, ref.namespace, ref.name))
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    async def apply(self, objects: Sequence[Object], source: str, force: bool) -> Sequence[Applied]:
        """Server-side apply of all, after all were accepted in a dry run."""
        refusals: list[Refusal] = []
        for item in objects:
            try:
                await self._patch(item, force, dry=True)
            except KubeError as error:
                refusals += _refusals(ref_of(item), error)
        if refusals:
            raise ApplyRefused(refusals)
        results = []
        for item in objects:
            ref = ref_of(item)
            old = await self.get(ref)
            new = await self._patch(item, force, dry=False)
            results.append(Applied(ref, _result(old, new)))
        return results

    async def _patch(self, item: Object, force: bool, dry: bool) -> Object:
        ref = ref_of(item)
        params = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        params |= {"force": "true"} if force else {}
        params |= {"dryRun": "All"} if dry else {}
        path = object_path(ref.kind, ref.namespace, ref.name)
        return await self._api.request("PATCH", path, params=params, body=item, content_type=APPLY)

    async def delete(self, ref: Ref) -> bool:
        """Ask for deletion. PortError `AcknowledgementMissing` as on a host."""
        item = await self.get(ref)
        if item is None:
            return False
        refused = deletion_refused(document_of(item))
        if refused is not None:
            raise PortError("AcknowledgementMissing", refused)
        try:
            await self._api.request("DELETE", object_path(ref.kind, ref.namespace, ref.name))
        except KubeError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def events(self, namespace: str | None, ref: Ref | None) -> Sequence[EventRow]:
        """Events about objects of ours."""
        where = ref.namespace if ref else namespace
        path = f"/api/v1/namespaces/{where}/events" if where else "/api/v1/events"
        selectors = []
        if ref is not None:
            selectors = [f"involvedObject.name={ref.name}", f"involvedObject.kind={ref.kind}"]
        params = {"fieldSelector": ",".join(selectors)} if selectors else None
        answer = await self._api.request("GET", path, params=params)
        rows = [_event(item) for item in answer.get("items") or () if _is_ours(item)]
        return sorted(rows, key=lambda row: row.last_seen or "")

    async def session(self, server: Ref, uid: str) -> Session:
        """Straight from the server, with the address and token its RopServer refers to.

        A server of ours is spoken to in the name of its present manager, which stays the manager.
        """
        client = await self._connect(server)
        try:
            if isinstance(client, ManagementServer):
                await client.act_for_manager()
            return await client.initialization_session(uid)
        finally:
            await client.close()

    async def ask(self, server: Ref, question: Question) -> Mapping[str, Any]:
        """Straight from the server, in the name of its present manager."""
        client = await self._connect(server)
        try:
            if isinstance(client, ManagementServer) and question.verb in AS_MANAGER:
                await client.act_for_manager()
            return await client.ask(question)
        finally:
            await client.close()

    async def devices(self, server: Ref) -> Sequence[DeviceFacts]:
        """Straight from the server."""
        client = await self._connect(server)
        try:
            return await client.devices()
        finally:
            await client.close()

    async def pki(self, server: Ref) -> Mapping[str, Any]:
        """Straight from the server."""
        client = await self._connect(server)
        try:
            return await client.pki()
        finally:
            await client.close()

    async def approve_renewal(self, server: Ref, uid: str, seconds: float) -> Mapping[str, Any]:
        """Straight from the server, in the name of its present manager."""
        client = await self._connect(server)
        try:
            if isinstance(client, ManagementServer):
                await client.act_for_manager()
            return await client.approve_renewal(uid, seconds)
        finally:
            await client.close()

    async def _connect(self, server: Ref) -> Server:
        item = await self.get(server)
        external = (item or {}).get("spec", {}).get("external")
        if not external:
            raise PortError(
                "ServerNotFound", f"{server} has no spec.external, so its server cannot be reached from here"
            )
        endpoint = await self._endpoint(server.namespace, external)
        return HttpFleet(allow_loopback=True, allow_unix=False).connect(endpoint)

    async def _endpoint(self, namespace: str, external: Mapping[str, Any]) -> Endpoint:
        secrets = KubeSecrets(self._api)
        values: dict[str, bytes] = {}
        for member in ("caRef", "tokenRef"):
            if ref := external.get(member):
                values[member] = await secrets.read(namespace, ref["name"], ref["key"])
        token = values.get("tokenRef")
        return Endpoint(
            external["url"],
            external.get("interface") or "Management",
            ca_pem=values.get("caRef"),
            token=token.decode("ascii", "replace").strip() if token else None,
        )

    async def discover(self, seconds: float) -> Sequence[Found]:
        """A pod has no cameras' LAN."""
        raise PortError(
            "NotReachableFromHere", "a cluster's operator is not on the cameras' LAN; discover from here"
        )

    async def put_firmware(self, sha256: str, file: Path) -> None:
        """Not offered."""
        raise PortError(
            "NotSupported",
            "a cluster's operator fetches files itself: put it on a web server and write spec.source.http.url",
        )

    async def set_secret(self, namespace: str, name: str, key: str, value: bytes) -> str:
        """A Secret that may be referred to; its other keys stay."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "labels": {REFERABLE: "true"}},
            "data": {key: base64.b64encode(value).decode("ascii")},
        }
        path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        # One field manager per key: setting one key does not withdraw those set before.
        params = {"fieldManager": f"{FIELD_MANAGER}-{key}"[:128], "force": "true"}
        await self._api.request("PATCH", path, params=params, body=body, content_type=APPLY)
        return f"Secret {namespace}/{name} key {key}"

    async def checks(self, namespace: str | None) -> Sequence[Check]:
        """API server, our kinds, the operator's lease."""
        try:
            version = await self._api.request("GET", "/version")
        except PortError as error:
            return [Check("cluster", False, error.message, "check --kubeconfig and --context")]
        found = [Check("cluster", True, f"Kubernetes {version.get('gitVersion')}")]
        try:
            answer = await self._api.request("GET", f"/apis/{GROUP}/{VERSION}")
            served = {resource["kind"] for resource in answer.get("resources") or ()}
        except PortError:
            served = set()
        missing = sorted({row.kind for row in KINDS} - served)
        said = f"missing: {', '.join(missing)}" if missing else f"{API_VERSION} is served"
        found.append(Check("kinds", not missing, said, "kubectl apply --server-side -f crds/" if missing else ""))
        found.append(await self._operator_check(namespace or await self.namespace()))
        return found

    async def _operator_check(self, namespace: str) -> Check:
        remedy = f"run rop-operator --namespace {namespace}"
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE_NAME}"
        try:
            spec = (await self._api.request("GET", path)).get("spec") or {}
        except KubeError as error:
            if error.status == 404:
                return Check("operator", False, f"no operator has ever led in namespace {namespace}", remedy)
            return Check("operator", False, error.message, "the right to read leases is needed for this check")
        renewed, holder = moment(spec.get("renewTime")), spec.get("holderIdentity")
        age = (datetime.now(UTC) - renewed).total_seconds() if renewed else None
        if not holder or age is None or age > 3 * float(spec.get("leaseDurationSeconds") or 15):
            since = f"since {spec.get('renewTime')}" if age is not None else ""
            return Check("operator", False, f"no operator leads in namespace {namespace} {since}".strip(), remedy)
        return Check("operator", True, f"{holder} leads, renewed {max(0, round(age))} s ago")

    async def close(self) -> None:
        """Release connections."""
        await self._api.close()


def _row(kind: str) -> Kind:
    row = kind_of(kind)
    assert row is not None, kind
    return row


def _collection(row: Kind, namespace: str | None) -> str:
    where = f"namespaces/{namespace}/" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}/{where}{row.plural}"


def _result(old: Object | None, new: Object) -> str:
    if old is None:
        return "created"
    same = old["metadata"].get("resourceVersion") == new["metadata"].get("resourceVersion")
    return "unchanged" if same else "configured"


def plain_rule(message: str) -> str:
    """The rule alone, out of what an API server says of a field: `Invalid value: "x": RULE` -> `RULE`."""
    return _INVALID.sub("", message)


def _refusals(ref: Ref, error: KubeError) -> list[Refusal]:
    if error.reason == "Conflict" and error.causes:
        fields = ", ".join(sorted({field.lstrip(".") for field, _ in error.causes}))
        remedy = "leave them to it, or take them over with --force-conflicts"
        return [Refusal(ref, "", f"another writer owns {fields}", remedy)]
    causes = [cause for cause in error.causes if cause[0] != "<nil>"] or error.causes
    if causes:
        return [Refusal(ref, field, plain_rule(message)) for field, message in causes]
    return [Refusal(ref, "", _PREFIX.sub("", error.message))]


def _is_ours(item: Mapping[str, Any]) -> bool:
    return str((item.get("involvedObject") or {}).get("apiVersion", "")).startswith(f"{GROUP}/")


def _event(item: Mapping[str, Any]) -> EventRow:
    about = item["involvedObject"]
    return EventRow(
        object=Ref(about.get("kind", ""), about.get("namespace", ""), about.get("name", "")),
        type=item.get("type", "Normal"),
        reason=item.get("reason", ""),
        message=item.get("message", ""),
        count=int(item.get("count") or 1),
        first_seen=item.get("firstTimestamp") or item.get("eventTime"),
        last_seen=item.get("lastTimestamp") or item.get("eventTime"),
    )
