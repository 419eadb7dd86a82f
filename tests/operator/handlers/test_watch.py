"""The kopf edge on a real API server: what comes through, and that nothing is written."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rop_operator.adapters.clock import SystemClock
from rop_operator.adapters.kube_api import KubeApi, load_credentials
from rop_operator.adapters.kube_heartbeat import Heartbeat
from rop_operator.handlers.watch import HEARTBEAT_ANNOTATION, Sinks, Watch

NUMBERS = itertools.count(1)


def camera(namespace: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "Camera",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"serverRef": {"name": "home"}, "uid": "95270001ABCDEFGH"},
    }


@pytest.fixture
def namespace(control_plane: Any) -> str:
    name: str = control_plane.namespace(f"watch-{next(NUMBERS)}")
    return name


@pytest.fixture
async def api(control_plane: Any, namespace: str, operator_rules: list[dict[str, Any]]) -> AsyncIterator[KubeApi]:
    kubeconfig = control_plane.account(namespace, "operator", operator_rules)
    client = KubeApi(lambda: load_credentials(str(kubeconfig)))
    yield client
    await client.close()


async def test_events_come_and_nothing_is_written(control_plane: Any, api: KubeApi, namespace: str) -> None:
    path = f"/apis/rop.dev/v1alpha1/namespaces/{namespace}/cameras"
    assert control_plane.api("POST", path, camera(namespace, "old"))[0] == 201
    seen: asyncio.Queue[tuple[str | None, str]] = asyncio.Queue()
    sinks = Sinks(
        lambda type_, item: seen.put_nowait((type_, item["metadata"]["name"])), lambda _: None, api.credentials
    )
    watch = Watch(sinks, [namespace], "heartbeat")
    watch.start()
    async with asyncio.timeout(30):
        assert await seen.get() == (None, "old")
        assert control_plane.api("POST", path, camera(namespace, "new"))[0] == 201
        assert await seen.get() == ("ADDED", "new")
        patch = {"spec": {"displayName": "Yard"}}
        control_plane.api("PATCH", f"{path}/new", patch, "application/merge-patch+json")
        assert await seen.get() == ("MODIFIED", "new")
        _, item = control_plane.api("GET", f"{path}/new")
        assert "annotations" not in item["metadata"]
        assert "finalizers" not in item["metadata"]
        assert item["metadata"]["generation"] == 2
        control_plane.api("DELETE", f"{path}/new")
        assert await seen.get() == ("DELETED", "new")
        await watch.stop()
    assert watch.ended.is_set()
    assert watch.error is None
    assert seen.empty()
    assert control_plane.api("GET", f"/api/v1/namespaces/{namespace}/events")[1]["items"] == []


async def test_the_heartbeat_comes_back_until_the_watch_stalls(api: KubeApi, namespace: str) -> None:
    returned: asyncio.Queue[str] = asyncio.Queue()
    heartbeat = Heartbeat(
        api, SystemClock(), namespace, "heartbeat", HEARTBEAT_ANNOTATION, interval=0.2, patience=2.0
    )

    def beat(value: str) -> None:
        returned.put_nowait(value)
        heartbeat.beat(value)

    watch = Watch(Sinks(lambda *_: None, beat, api.credentials), [namespace], "heartbeat")
    watch.start()
    stop = asyncio.Event()
    async with asyncio.timeout(30):
        await heartbeat.write()
        assert await returned.get()
        beating = asyncio.create_task(heartbeat.run(stop))
        for _ in range(3):
            assert await returned.get()
        assert not heartbeat.stalled()
        await watch.stop()
        assert not await beating
    assert heartbeat.stalled()


async def test_another_process_is_no_heartbeat_of_ours(api: KubeApi, namespace: str) -> None:
    ours = Heartbeat(api, SystemClock(), namespace, "heartbeat", HEARTBEAT_ANNOTATION, patience=0.0)
    await ours.write()
    ours.beat("someone-else.1")
    ours.beat("")
    assert ours.stalled()
    ours.beat(f"{ours._process}.1")
    assert not ours.stalled()


async def test_the_user_needs_no_name(
    control_plane: Any, api: KubeApi, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pod the number of the user is all there is."""

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr("getpass.getuser", nameless)
    seen = asyncio.Event()
    path = f"/apis/rop.dev/v1alpha1/namespaces/{namespace}/cameras"
    assert control_plane.api("POST", path, camera(namespace, "old"))[0] == 201
    watch = Watch(Sinks(lambda type_, item: seen.set(), lambda _: None, api.credentials), [namespace], "heartbeat")
    watch.start()
    async with asyncio.timeout(30):
        await seen.wait()
    await watch.stop()
    assert watch.error is None
