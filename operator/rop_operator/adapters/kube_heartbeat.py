"""Proof that watches live: a value written to an object must come back through the watch."""

from __future__ import annotations

import asyncio
import logging
import uuid

from rop_operator.adapters.kube_api import APPLY, FIELD_MANAGER, KubeApi
from rop_operator.ports import Clock, PortError

log = logging.getLogger(__name__)


class Heartbeat:
    """Writes a ConfigMap's annotation every `interval` seconds; `stalled` when none came back in time.

    Only written values count: an API server that cannot be reached is the lease's business.
    """

    def __init__(
        self,
        api: KubeApi,
        clock: Clock,
        namespace: str,
        name: str,
        annotation: str,
        interval: float = 20.0,
        patience: float = 60.0,
    ) -> None:
        self._api = api
        self._clock = clock
        self._path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
        self._metadata = {"name": name, "namespace": namespace}
        self._annotation = annotation
        self._interval = interval
        self._patience = patience
        self._process = uuid.uuid4().hex[:12]
        self._count = 0
        self._oldest_unseen: float | None = None

    def beat(self, value: str) -> None:
        """The watch showed this value."""
        if value.startswith(f"{self._process}."):
            self._oldest_unseen = None

    def stalled(self) -> bool:
        """True when a written value has not come back in time."""
        return self._oldest_unseen is not None and self._clock.monotonic() - self._oldest_unseen > self._patience

    async def write(self) -> None:
        """Write the next value. PortError when it cannot be written."""
        self._count += 1
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {**self._metadata, "annotations": {self._annotation: f"{self._process}.{self._count}"}},
        }
        params = {"fieldManager": FIELD_MANAGER, "force": "true"}
        since = self._clock.monotonic()
        if self._oldest_unseen is None:
            self._oldest_unseen = since
        try:
            await self._api.request("PATCH", self._path, params=params, body=body, content_type=APPLY)
        except PortError:
            if self._oldest_unseen == since:
                self._oldest_unseen = None
            raise

    async def run(self, stop: asyncio.Event) -> bool:
        """Beat until asked to stop (True) or until the watch has stalled (False)."""
        while not stop.is_set():
            try:
                await self.write()
            except PortError as error:
                log.warning("heartbeat not written: %s", error.message)
            try:
                await asyncio.wait_for(stop.wait(), self._interval)
            except TimeoutError:
                if self.stalled():
                    return False
        return True
