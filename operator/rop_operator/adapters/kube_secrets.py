"""Secret values on a cluster: only Secrets that were made referable, read when needed, never kept."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable

from rop_operator.adapters.kube_api import METADATA_ONLY, KubeApi, KubeError
from rop_operator.ports import PortError

log = logging.getLogger(__name__)

REFERABLE = "rop.dev/referable"
MAX_WATCHED = 2000


class KubeSecrets:
    """`Secrets` of the engine. Needs `get` on Secrets only.

    Versions (never values) of those that were asked for are remembered and `watch` reports a change: an account
    without `list` and `watch` on Secrets is enough.
    """

    def __init__(self, api: KubeApi, changed: Callable[[str, str], None] | None = None) -> None:
        self._api = api
        self._changed = changed
        self._versions: dict[tuple[str, str], str | None] = {}
        self._useless: set[tuple[str, str, str]] = set()

    async def read(self, namespace: str, name: str, key: str) -> bytes:
        """The value of one key. PortError: SecretNotFound, SecretKeyMissing, SecretNotReferable, SecretInvalid."""
        self._useless.add((namespace, name, key))
        value = await self._read(namespace, name, key)
        self._useless.discard((namespace, name, key))
        return value

    async def _read(self, namespace: str, name: str, key: str) -> bytes:
        try:
            secret = await self._api.request("GET", _path(namespace, name))
        except KubeError as error:
            self._remember(namespace, name, None)
            if error.status == 404:
                raise PortError("SecretNotFound", f"Secret {namespace}/{name} does not exist; create it") from None
            if error.status == 403:
                raise PortError(
                    "SecretNotReferable",
                    f"Secret {namespace}/{name}: this account may not read it; allow `get` on it by a Role",
                ) from None
            raise
        metadata = secret["metadata"]
        self._remember(namespace, name, metadata.get("resourceVersion"))
        if (metadata.get("labels") or {}).get(REFERABLE) != "true":
            raise PortError(
                "SecretNotReferable",
                f'Secret {namespace}/{name} lacks the label {REFERABLE}: "true"; set it to allow its use',
            )
        value = (secret.get("data") or {}).get(key)
        if value is None:
            raise PortError("SecretKeyMissing", f"Secret {namespace}/{name} has no key {key}; add it")
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise PortError("SecretInvalid", f"Secret {namespace}/{name} key {key} is not valid base64") from None

    def _remember(self, namespace: str, name: str, version: str | None) -> None:
        if (namespace, name) in self._versions or len(self._versions) < MAX_WATCHED:
            self._versions[namespace, name] = version

    async def watch(self, stop: asyncio.Event, interval: float = 30.0, useless_interval: float = 3.0) -> None:
        """Look at the versions of the Secrets in use every `interval` seconds (of those that are missing or of no
        use every `useless_interval`, because somebody waits for them).
        """
        elapsed = 0.0
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), useless_interval)
            except TimeoutError:
                elapsed += useless_interval
                await self._look(useless_only=elapsed < interval)
                elapsed %= interval

    async def _look(self, useless_only: bool) -> None:
        useless = {which[:2] for which in self._useless}
        for (namespace, name), known in list(self._versions.items()):
            if useless_only and (namespace, name) not in useless:
                continue
            try:
                version = await self._version(namespace, name)
            except PortError as error:
                log.info("secret not checked: %s", error.reason)
                continue
            if version != known:
                self._versions[namespace, name] = version
                if self._changed is not None:
                    self._changed(namespace, name)

    async def _version(self, namespace: str, name: str) -> str | None:
        try:
            found = await self._api.request("GET", _path(namespace, name), accept=METADATA_ONLY)
        except KubeError as error:
            if error.status in (403, 404):
                return None
            raise
        version: str | None = found["metadata"].get("resourceVersion")
        return version


def _path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets/{name}"
