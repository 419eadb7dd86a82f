"""The one way to an API server: credentials by `kubernetes.aio`, JSON calls by aiohttp, no generated models."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.incluster_config import load_incluster_config
from kubernetes.aio.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION, load_kube_config

from rop_operator.ports import PortError

FIELD_MANAGER = "rop-operator"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
# A service account's token lives an hour at least and is replaced on disk long before.
CREDENTIALS_MAX_AGE = 300.0


class KubeError(PortError):
    """The API server refused. `status` is the HTTP code, `reason` its word for programs (`NotFound`, `Invalid`),
    `causes` what it said of each field: (field, message).
    """

    def __init__(self, status: int, reason: str, message: str, causes: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(reason, message)
        self.status = status
        self.causes = causes


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where the API server is and how to prove who we are. `namespace` is the context's own."""

    server: str
    namespace: str | None = None
    ca_path: str | None = None
    certificate_path: str | None = None
    key_path: str | None = None
    token: str | None = field(default=None, repr=False)
    verify: bool = True
    server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    # Held for as long as the credentials: files with embedded keys go when their loader goes.
    loader: Any = field(default=None, repr=False, compare=False)

    def ssl_context(self) -> ssl.SSLContext | None:
        """A client context for the server; None for a plain HTTP one (`kubectl proxy`)."""
        if not self.server.startswith("https"):
            return None
        context = ssl.create_default_context(cafile=self.ca_path)
        if self.certificate_path:
            context.load_cert_chain(self.certificate_path, self.key_path)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


async def load_credentials(kubeconfig: str | None = None, context: str | None = None) -> Credentials:
    """Credentials of a kubeconfig (default: KUBECONFIG, then the pod's account, then ~/.kube/config).

    Raises PortError `KubeconfigInvalid` with what to do.
    """
    configuration = Configuration()
    loader: Any = None
    namespace: str | None = None
    in_cluster = kubeconfig is None and context is None and "KUBECONFIG" not in os.environ
    try:
        if in_cluster and ACCOUNT_NAMESPACE.exists():
            load_incluster_config(configuration, try_refresh_token=False)  # type: ignore[no-untyped-call]
            namespace = ACCOUNT_NAMESPACE.read_text().strip()
        else:
            location = kubeconfig or KUBE_CONFIG_DEFAULT_LOCATION
            if kubeconfig and not Path(kubeconfig).is_file():
                raise ConfigException(f"{kubeconfig} is not a file")
            options = {"context": context, "client_configuration": configuration, "persist_config": False}
            loader = await load_kube_config(location, **options)  # type: ignore[no-untyped-call]
            namespace = loader.current_context["context"].get("namespace")
    except (ConfigException, OSError, ValueError, TypeError) as error:
        raise PortError(
            "KubeconfigInvalid",
            f"no usable credentials for a cluster: {error}; give --kubeconfig FILE (and --context NAME)",
        ) from None
    token = configuration.api_key.get("BearerToken") or ""
    return Credentials(
        server=configuration.host,
        namespace=namespace,
        ca_path=configuration.ssl_ca_cert,
        certificate_path=configuration.cert_file,
        key_path=configuration.key_file,
        token=token.split(" ", 1)[-1].strip() or None,
        verify=bool(configuration.verify_ssl),
        server_name=configuration.tls_server_name,
        proxy=configuration.proxy,
        loader=loader,
    )


class KubeApi:
    """JSON calls to one API server. Credentials are read again when they are old or refused."""

    def __init__(
        self,
        load: Callable[[], Awaitable[Credentials]],
        max_age: float = CREDENTIALS_MAX_AGE,
        timeout: float = 30.0,
    ) -> None:
        self._load = load
        self._max_age = max_age
        self._timeout = timeout
        self._credentials: Credentials | None = None
        self._session: aiohttp.ClientSession | None = None
        self._retired: list[aiohttp.ClientSession] = []
        self._loaded_at = 0.0
        self._lock = asyncio.Lock()

    async def credentials(self, fresh: bool = False) -> Credentials:
        """Current credentials; `fresh` reads them again whatever their age."""
        async with self._lock:
            old = time.monotonic() - self._loaded_at > self._max_age
            if self._credentials is None or fresh or old:
                loaded = await self._load()
                self._loaded_at = time.monotonic()
                if loaded != self._credentials:
                    await self._open(loaded)
            assert self._credentials is not None
            return self._credentials

    async def _open(self, credentials: Credentials) -> None:
        if self._session is not None:
            self._retired.append(self._session)  # calls in flight may still use it
            while len(self._retired) > 2:
                await self._retired.pop(0).close()
        context = credentials.ssl_context()
        connector = aiohttp.TCPConnector(ssl=True if context is None else context, limit=20)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._timeout, connect=5),
            headers={"User-Agent": FIELD_MANAGER},
        )
        self._credentials = credentials

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> dict[str, Any]:
        """One call; the JSON answer. Raises KubeError (refused) or PortError `Unreachable`."""
        credentials = await self.credentials()
        try:
            return await self._send(credentials, method, path, params, body, content_type, accept)
        except KubeError as error:
            if error.status != 401:
                raise
        credentials = await self.credentials(fresh=True)
        return await self._send(credentials, method, path, params, body, content_type, accept)

    async def _send(
        self,
        credentials: Credentials,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Any,
        content_type: str,
        accept: str,
    ) -> dict[str, Any]:
        assert self._session is not None
        headers = {"Accept": accept}
        if credentials.token:
            headers["Authorization"] = f"Bearer {credentials.token}"
        data = None
        if body is not None:
            data = _dump(body)
            headers["Content-Type"] = content_type
        try:
            async with self._session.request(
                method,
                credentials.server.rstrip("/") + path,
                params=params,
                data=data,
                headers=headers,
                proxy=credentials.proxy,
                server_hostname=credentials.server_name,
                allow_redirects=False,
            ) as answer:
                text = await answer.text()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise PortError("Unreachable", f"API server {credentials.server}: {reason}") from None
        document = _parse(text)
        if status >= 300:
            raise _refusal(status, document, text)
        return document

    async def close(self) -> None:
        """Close every connection."""
        for session in (*self._retired, self._session):
            if session is not None:
                await session.close()
        self._retired.clear()
        self._session = None
        self._credentials = None


def _dump(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _parse(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _refusal(status: int, document: Mapping[str, Any], text: str) -> KubeError:
    details = document.get("details") or {}
    causes = tuple((str(c.get("field", "")), str(c.get("message", ""))) for c in details.get("causes") or ())
    reason = document.get("reason") or {401: "Unauthorized", 403: "Forbidden", 404: "NotFound"}.get(
        status, "Refused"
    )
    message = document.get("message") or text[:200] or f"HTTP {status}"
    return KubeError(status, str(reason), str(message), causes)
