"""Objects around a RopServer: read, server-side apply, delete. What is right already is not written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rop_operator.adapters.kube_api import APPLY, FIELD_MANAGER, METADATA_ONLY, KubeApi, KubeError
from rop_operator.adapters.kube_drift import contains
from rop_operator.adapters.kube_names import MANAGED_BY, MANIFEST, Manifest
from rop_operator.ports import PortError

PLURALS: Mapping[str, str] = {
    "NetworkPolicy": "networkpolicies",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "StatefulSet": "statefulsets",
}


def path_of(manifest: Mapping[str, Any]) -> str:
    """Path of an object on the API server."""
    version = manifest["apiVersion"]
    metadata = manifest["metadata"]
    root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    return f"{root}/namespaces/{metadata['namespace']}/{PLURALS[manifest['kind']]}/{metadata['name']}"


def named(manifest: Mapping[str, Any]) -> str:
    """`Service home-devices`."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _ours(live: Manifest) -> bool:
    """Made by an operator of this kind: one mark is enough, because people edit."""
    labels, annotations = (live["metadata"].get(member) or {} for member in ("labels", "annotations"))
    return bool(labels.get(MANAGED_BY) == FIELD_MANAGER or MANIFEST in annotations)


class KubeObjects:
    """Reads and writes of single objects. All raise KubeError or PortError."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def get(self, manifest: Mapping[str, Any]) -> Manifest | None:
        """The object as it is, None when there is none."""
        try:
            return await self._api.request("GET", path_of(manifest))
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    async def metadata(self, manifest: Mapping[str, Any]) -> Manifest | None:
        """Its metadata alone: nothing of a Secret passes through here."""
        try:
            found = await self._api.request("GET", path_of(manifest), accept=METADATA_ONLY)
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        metadata: Manifest = found["metadata"]
        return metadata

    async def differing(self, manifests: Sequence[Manifest]) -> list[Manifest]:
        """Those that are missing or not as their manifest says. PortError `NameTaken` for an object of somebody
        else, which is left alone.
        """
        found = []
        for manifest in manifests:
            live = await self.get(manifest)
            if live is not None and not _ours(live):
                raise PortError(
                    "NameTaken",
                    f"{named(manifest)} is there and not ours: rename the RopServer, or delete that object",
                )
            if live is None or "deletionTimestamp" in live["metadata"] or not contains(live, manifest):
                found.append(manifest)
        return found

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply: our members become so, members of others stay."""
        params = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._api.request(
            "PATCH", path_of(manifest), params=params, body=manifest, content_type=APPLY
        )

    async def create(self, manifest: Manifest) -> None:
        """Make it unless it is there: what is there stays as it is."""
        collection = path_of(manifest).rsplit("/", 1)[0]
        try:
            await self._api.request("POST", collection, params={"fieldManager": FIELD_MANAGER}, body=manifest)
        except KubeError as error:
            if error.status != 409:
                raise

    async def delete(self, manifest: Mapping[str, Any], uid: str | None = None) -> None:
        """Delete it if it is there; with `uid` only that very object."""
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._api.request("DELETE", path_of(manifest), body=body)
        except KubeError as error:
            if error.status not in (404, 409):
                raise
