"""Names, labels and ports of what belongs to one RopServer on a cluster."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rop_operator.api.facts import Document
from rop_operator.api.parse import server_spec
from rop_operator.api.registry import API_VERSION
from rop_operator.api.server import RopServerSpec

Manifest = dict[str, Any]

# On every child: the manifest it was made from. On a pod: the template it was made from.
MANIFEST, TEMPLATE = "rop.dev/manifest", "rop.dev/template"
# On a Secret that the pod filled with keys: their fingerprint.
KEYS = "rop.dev/keys"
MANAGED_BY = "app.kubernetes.io/managed-by"

MANAGE_PORT = 7443
# Member of spec.ports -> number on a new server, name of the Service's port. Source: pki-and-config 6.
DEVICE_PORTS: Mapping[str, tuple[int, str]] = {
    "getCAHttps": (61000, "get-ca"),
    "getCertHttps": (61001, "get-cert"),
    "registerHttps": (61002, "register"),
    "keepAliveTCP": (61003, "keep-alive"),
    "signalingTLS": (61005, "signaling"),
    "streamTLS": (61006, "stream-tls"),
    "streamTCP": (61007, "stream-tcp"),
}
CLIENT_PORTS: Mapping[str, tuple[int, str]] = {"clientRtsp": (61008, "rtsp"), "clientHttp": (61009, "http")}
CLIENT_LABEL = {"rop.dev/client": "true"}
OPERATOR_LABEL = {"app.kubernetes.io/name": "rop-operator"}


def digest(value: Any) -> str:
    """Short fingerprint of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator's own command line says of pods."""

    image: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """A RopServer whose children are made. `config`: name of the Secret with the members of its first start;
    `keys`: names of the Secrets that keep its keys, oldest first, the last one empty.
    """

    namespace: str
    name: str
    uid: str
    spec: RopServerSpec
    config: str = ""
    keys: tuple[str, ...] = ()

    @classmethod
    def of(cls, document: Document, config: str = "", keys: tuple[str, ...] = ()) -> Subject:
        """pydantic.ValidationError for a spec that breaks a rule."""
        spec = server_spec(document.spec)
        return cls(document.ref.namespace, document.ref.name, document.uid, spec, config, keys)

    def called(self, part: str) -> str:
        """Name of a child: `home-data`."""
        return f"{self.name}-{part}"

    @property
    def selector(self) -> dict[str, str]:
        """Labels by which its pod is found."""
        return {"app.kubernetes.io/name": "rop-server", "app.kubernetes.io/instance": self.name}

    @property
    def labels(self) -> dict[str, str]:
        """Labels of every child."""
        return {**self.selector, MANAGED_BY: "rop-operator"}

    def ports(self, table: Mapping[str, tuple[int, str]]) -> list[tuple[str, int]]:
        """(name, number) of these ports, as the document says."""
        asked = self.spec.ports.model_dump(by_alias=True, exclude_none=True) if self.spec.ports else {}
        return [(name, asked.get(member, number)) for member, (number, name) in table.items()]

    def child(
        self,
        api_version: str,
        kind: str,
        name: str,
        body: Mapping[str, Any],
        kept: bool = False,
        annotations: Mapping[str, str] | None = None,
    ) -> Manifest:
        """A manifest. `kept` ones have no owner: they outlive the RopServer, whoever deletes it."""
        metadata: dict[str, Any] = {"name": name, "namespace": self.namespace, "labels": self.labels}
        metadata["annotations"] = dict(annotations or {})
        if not kept:
            owner = {"apiVersion": API_VERSION, "kind": "RopServer", "name": self.name, "uid": self.uid}
            metadata["ownerReferences"] = [owner]
        manifest = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
        metadata["annotations"][MANIFEST] = digest(manifest)
        return manifest
