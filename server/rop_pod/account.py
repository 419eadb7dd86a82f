"""Secrets by the pod's own account: it may read and fill those its Role names, nothing else."""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT = 20.0
MERGE = "application/merge-patch+json"
HIDDEN = frozenset({403, 404})


class AccountError(Exception):
    """The API server cannot be reached or refused; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Held:
    """A Secret as it is. `version` guards a write against others."""

    version: str
    annotations: Mapping[str, str]
    data: Mapping[str, bytes] = field(repr=False)


class Account:
    """Calls to the API server in one namespace. AccountError."""

    def __init__(self, server: str, folder: Path = ACCOUNT) -> None:
        """`server` is HOST:PORT; `folder` has token, ca.crt and namespace."""
        self._server = server
        try:
            self._token = (folder / "token").read_text("ascii").strip()
            self._namespace = (folder / "namespace").read_text("utf-8").strip()
            self._context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        except (OSError, ssl.SSLError) as error:
            raise AccountError(f"{folder}: no account of a pod: {error}") from None

    @classmethod
    def of_pod(cls, folder: Path = ACCOUNT) -> Account:
        """By the variables that every container has."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise AccountError("KUBERNETES_SERVICE_HOST is not set: rop-pod runs in a pod")
        return cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", folder)

    def read(self, name: str) -> Held | None:
        """The Secret; None when there is none, or none for us."""
        status, answer = self._call("GET", name)
        if status in HIDDEN:
            return None
        if status != 200:
            raise AccountError(f"Secret {name}: {answer.get('message', status)}")
        metadata = answer["metadata"]
        data = {key: base64.b64decode(value) for key, value in (answer.get("data") or {}).items()}
        return Held(metadata["resourceVersion"], metadata.get("annotations") or {}, data)

    def fill(
        self, name: str, held: Held, data: Mapping[str, bytes], annotations: Mapping[str, str], final: bool
    ) -> None:
        """Write these values. `final`: nobody can change them afterwards."""
        body: dict[str, Any] = {
            "metadata": {"resourceVersion": held.version, "annotations": dict(annotations)},
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }
        if final:
            body["immutable"] = True
        status, answer = self._call("PATCH", name, body)
        if status != 200:
            raise AccountError(f"Secret {name}: {answer.get('message', status)}")

    def _call(self, method: str, name: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPSConnection(self._server, context=self._context, timeout=TIMEOUT)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": MERGE, "Accept": "application/json"}
        text = None if body is None else json.dumps(body)
        try:
            connection.request(method, f"/api/v1/namespaces/{self._namespace}/secrets/{name}", text, headers)
            answer = connection.getresponse()
            document = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise AccountError(f"API server {self._server}: {error or type(error).__name__}") from None
        finally:
            connection.close()
        return answer.status, document if isinstance(document, dict) else {}
