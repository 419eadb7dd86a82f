"""Leader election on a coordination.k8s.io Lease: one operator acts, others wait.

Works like client-go's: a holder is believed until its record has not changed for its duration on *our* monotonic
clock, so that clocks of two nodes are never compared.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rop_operator.adapters.kube_api import KubeApi, KubeError
from rop_operator.ports import Clock, PortError

log = logging.getLogger(__name__)

MICRO_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class LeaseElection:
    """Holds, renews and gives back one Lease. `identity` names this process; durations are seconds."""

    def __init__(
        self,
        api: KubeApi,
        clock: Clock,
        namespace: str,
        name: str,
        identity: str,
        duration: float = 12.0,
        retry: float = 3.0,
    ) -> None:
        self._api = api
        self._clock = clock
        self._base = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._duration = duration
        self._retry = retry
        self._seen: tuple[Any, ...] | None = None
        self._seen_at = 0.0
        self._renewed_at: float | None = None
        self.uid: str | None = None

    def held(self) -> bool:
        """True while nobody else can have taken the Lease. Stops a fifth of the duration early."""
        return self._renewed_at is not None and self._clock.monotonic() - self._renewed_at < 0.8 * self._duration

    async def acquire(self, stop: asyncio.Event) -> bool:
        """Wait until the Lease is ours; False when asked to stop before. PortError when the API forbids it."""
        told: str | None = None
        while not stop.is_set():
            try:
                holder = await self._try()
            except KubeError as error:
                if error.status in (401, 403):
                    raise
                holder = None
            except PortError as error:
                log.warning("cannot reach the lease: %s", error.message)
                holder = None
            if self.held():
                log.info("leading", extra={"lease": self._name, "identity": self._identity})
                return True
            if holder and holder != told:
                log.info("waiting for the lease", extra={"lease": self._name, "holder": holder})
                told = holder
            await _pause(stop, self._retry)
        return False

    async def keep(self, stop: asyncio.Event) -> bool:
        """Renew until asked to stop (True) or until it is lost (False)."""
        while not stop.is_set():
            await _pause(stop, self._retry)
            if stop.is_set():
                break
            try:
                await asyncio.wait_for(self._try(), self._duration / 2)
            except (PortError, TimeoutError) as error:
                log.warning("lease not renewed: %s", error)
            if not self.held():
                return False
        return True

    async def release(self) -> None:
        """Give it back, so that the next one need not wait."""
        if not self.held():
            return
        try:
            lease = await self._api.request("GET", f"{self._base}/{self._name}")
            if lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._api.request("PUT", f"{self._base}/{self._name}", body=lease)
        except PortError as error:
            log.info("lease not given back: %s", error.message)
        self._renewed_at = None

    async def _try(self) -> str | None:
        """Take or renew when possible; the holder when it is someone else."""
        started = self._clock.monotonic()
        try:
            lease = await self._api.request("GET", f"{self._base}/{self._name}")
        except KubeError as error:
            if error.status != 404:
                raise
            body = {"metadata": {"name": self._name, "namespace": self._namespace}, "spec": self._spec({})}
            return await self._write("POST", self._base, body, started)
        spec: Mapping[str, Any] = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        record = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if record != self._seen:
            self._seen, self._seen_at = record, started
        duration = float(spec.get("leaseDurationSeconds") or self._duration)
        if holder not in ("", self._identity) and started - self._seen_at < duration:
            self._renewed_at = None
            return str(holder)
        lease["spec"] = self._spec(spec)
        return await self._write("PUT", f"{self._base}/{self._name}", lease, started)

    async def _write(self, method: str, path: str, body: Mapping[str, Any], started: float) -> str | None:
        try:
            answer = await self._api.request(method, path, body=body)
        except KubeError as error:
            if error.status == 409:  # somebody was faster
                return None
            raise
        self.uid = answer["metadata"]["uid"]
        self._renewed_at = started
        return None

    def _spec(self, old: Mapping[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).strftime(MICRO_TIME)
        mine = old.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._duration)),
            "acquireTime": old.get("acquireTime") if mine else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if mine else 1),
        }


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
