"""Leader election on a real Lease, with clocks that the test moves."""

import asyncio
from typing import Any

import pytest

from rop_operator.adapters.clock import SystemClock
from rop_operator.adapters.kube_api import KubeApi, KubeError, load_credentials
from rop_operator.adapters.kube_lease import LeaseElection


class Shifted(SystemClock):
    """Monotonic time that a test can put forward."""

    shift = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.shift


def election(api: KubeApi, clock: SystemClock, namespace: str, identity: str) -> LeaseElection:
    return LeaseElection(api, clock, namespace, "rop-operator", identity, duration=15.0, retry=0.05)


async def test_one_leads_and_the_other_follows_a_release(api: KubeApi, namespace: str) -> None:
    stop = asyncio.Event()
    first, second = (election(api, SystemClock(), namespace, name) for name in ("a", "b"))
    assert await first.acquire(stop)
    assert first.held()
    assert first.uid
    waiting = asyncio.create_task(second.acquire(stop))
    done, _ = await asyncio.wait({waiting}, timeout=0.5)
    assert not done
    assert not second.held()
    await first.release()
    assert not first.held()
    async with asyncio.timeout(10):
        assert await waiting
    assert second.held()
    assert second.uid == first.uid
    lease = await api.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/rop-operator")
    assert lease["spec"]["holderIdentity"] == "b"
    assert lease["spec"]["leaseTransitions"] >= 2


async def test_a_holder_that_went_silent_is_replaced_and_notices(api: KubeApi, namespace: str) -> None:
    stop = asyncio.Event()
    dead, successor = Shifted(), Shifted()
    first, second = election(api, dead, namespace, "a"), election(api, successor, namespace, "b")
    assert await first.acquire(stop)
    assert await second._try() == "a"
    successor.shift = 14.0
    assert await second._try() == "a"
    assert not second.held()
    successor.shift = 16.0
    assert await second._try() is None
    assert second.held()
    dead.shift = 12.5  # before the other's clock says that it may be replaced
    assert not first.held()
    async with asyncio.timeout(10):
        assert not await first.keep(stop)


async def test_keeping_ends_when_asked(api: KubeApi, namespace: str) -> None:
    stop = asyncio.Event()
    only = election(api, SystemClock(), namespace, "a")
    assert await only.acquire(stop)
    keeping = asyncio.create_task(only.keep(stop))
    stop.set()
    assert await keeping
    assert not await election(api, SystemClock(), namespace, "b").acquire(stop)


async def test_missing_rights_are_an_error_and_no_wait(control_plane: Any, namespace: str) -> None:
    kubeconfig = control_plane.account(namespace, "nobody", [])
    api = KubeApi(lambda: load_credentials(str(kubeconfig)))
    with pytest.raises(KubeError) as refused:
        await election(api, SystemClock(), namespace, "a").acquire(asyncio.Event())
    await api.close()
    assert refused.value.status == 403
    assert "leases" in refused.value.message
