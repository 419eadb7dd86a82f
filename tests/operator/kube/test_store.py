"""KubeStore on a real API server."""

import asyncio
import json
from typing import Any

import pytest

from rop_operator.adapters.kube_api import KubeApi, KubeError, load_credentials
from rop_operator.adapters.kube_store import KubeStore, ObjectCache, object_path, referred
from rop_operator.api.facts import Ref
from rop_operator.ports import PortError

UID = "95270001ABCDEFGH"
FINALIZER = "rop.dev/revoke"
CONDITION = {
    "type": "Ready",
    "status": "True",
    "reason": "Ready",
    "message": "",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def camera(namespace: str, name: str = "front-door", uid: str = UID, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "Camera",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"serverRef": {"name": "home"}, "uid": uid, **spec},
    }


def server(namespace: str, name: str = "home", **spec: Any) -> dict[str, Any]:
    external = {
        "url": "https://192.0.2.1:7443",
        "caRef": {"name": "manage", "key": "ca.crt"},
        "tokenRef": {"name": "manage", "key": "token"},
    }
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "RopServer",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"host": "rop.example.net", "external": external, **spec},
    }


def create(plane: Any, item: dict[str, Any]) -> dict[str, Any]:
    path = object_path(item["kind"], item["metadata"]["namespace"])
    status, answer = plane.api("POST", path, item)
    assert status == 201, answer
    created: dict[str, Any] = answer
    return created


async def loaded(api: KubeApi, namespace: str) -> KubeStore:
    store = KubeStore(api, [namespace])
    await store.load()
    return store


async def next_change(store: KubeStore) -> Ref:
    async with asyncio.timeout(10):
        async for ref in store.changes():
            return ref
    raise AssertionError("changes() ended")


async def test_every_object_comes_once_at_the_start(control_plane: Any, api: KubeApi, namespace: str) -> None:
    create(control_plane, server(namespace))
    create(control_plane, camera(namespace))
    store = await loaded(api, namespace)
    assert {await next_change(store), await next_change(store)} == {
        Ref("RopServer", namespace, "home"),
        Ref("Camera", namespace, "front-door"),
    }
    document = await store.get(Ref("Camera", namespace, "front-door"))
    assert document is not None
    assert document.spec["uid"] == UID
    assert document.generation == 1
    assert document.created is not None
    assert [d.ref.name for d in await store.list("Camera", namespace)] == ["front-door"]


async def test_status_is_replaced_whole(control_plane: Any, api: KubeApi, namespace: str) -> None:
    create(control_plane, camera(namespace))
    store = await loaded(api, namespace)
    ref = Ref("Camera", namespace, "front-door")
    document = await store.get(ref)
    assert document is not None
    first = {"state": "Online", "firmware": "v3.1", "conditions": [CONDITION], "observed": {"any": {"thing": [1]}}}
    await store.put_status(document, first)
    written = await store.get(ref)
    assert written is not None
    assert written.status == first
    second = {"state": "Offline", "conditions": [{**CONDITION, "status": "False"}]}
    await store.put_status(written, second)
    _, item = control_plane.api("GET", object_path("Camera", namespace, "front-door"))
    assert item["status"] == second
    assert item["metadata"]["generation"] == 1
    managers = {m["manager"] for m in item["metadata"]["managedFields"] if m.get("subresource") == "status"}
    assert managers == {"rop-operator"}


async def test_status_of_a_vanished_or_replaced_object_goes_nowhere(
    control_plane: Any, api: KubeApi, namespace: str
) -> None:
    create(control_plane, camera(namespace))
    store = await loaded(api, namespace)
    document = await store.get(Ref("Camera", namespace, "front-door"))
    assert document is not None
    path = object_path("Camera", namespace, "front-door")
    assert control_plane.api("DELETE", path)[0] == 200
    await store.put_status(document, {"state": "Online"})
    assert control_plane.api("GET", path)[0] == 404
    create(control_plane, camera(namespace))
    await store.put_status(document, {"state": "Online"})
    assert "status" not in control_plane.api("GET", path)[1]


async def test_finalizer_holds_and_releases(control_plane: Any, api: KubeApi, namespace: str) -> None:
    create(control_plane, camera(namespace))
    store = await loaded(api, namespace)
    ref = Ref("Camera", namespace, "front-door")
    document = await store.get(ref)
    assert document is not None
    await store.set_finalizer(document, FINALIZER, True)
    await store.set_finalizer(document, FINALIZER, True)
    path = object_path("Camera", namespace, "front-door")
    control_plane.api("DELETE", path)
    _, item = control_plane.api("GET", path)
    assert item["metadata"]["finalizers"] == [FINALIZER]
    store.seen("MODIFIED", item)
    document = await store.get(ref)
    assert document is not None
    assert document.deleting is not None
    await store.set_finalizer(document, FINALIZER, False)
    assert control_plane.api("GET", path)[0] == 404
    assert await store.get(ref) is None
    await store.set_finalizer(document, FINALIZER, False)


async def test_nothing_is_written_without_the_lease(control_plane: Any, api: KubeApi, namespace: str) -> None:
    create(control_plane, camera(namespace))
    store = KubeStore(api, [namespace], guard=lambda: False)
    await store.load()
    document = await store.get(Ref("Camera", namespace, "front-door"))
    assert document is not None
    with pytest.raises(PortError) as refused:
        await store.put_status(document, {"state": "Online"})
    assert refused.value.reason == "NotLeader"
    with pytest.raises(PortError):
        await store.set_finalizer(document, FINALIZER, True)
    _, item = control_plane.api("GET", object_path("Camera", namespace, "front-door"))
    assert "status" not in item
    assert "finalizers" not in item["metadata"]


async def test_a_repeated_event_counts_up(control_plane: Any, api: KubeApi, namespace: str) -> None:
    create(control_plane, camera(namespace))
    store = await loaded(api, namespace)
    ref = Ref("Camera", namespace, "front-door")
    for _ in range(3):
        await store.record_event(ref, "Warning", "CameraSilent", "no answer")
    await store.record_event(ref, "Normal", "SetUp", "done")
    _, answer = control_plane.api("GET", f"/api/v1/namespaces/{namespace}/events")
    counts = {(e["type"], e["reason"]): e["count"] for e in answer["items"]}
    assert counts == {("Warning", "CameraSilent"): 3, ("Normal", "SetUp"): 1}
    assert {e["involvedObject"]["kind"] for e in answer["items"]} == {"Camera"}


async def test_an_event_in_a_missing_namespace_does_not_fail(api: KubeApi) -> None:
    await KubeStore(api, ["nowhere"]).record_event(Ref("Camera", "nowhere", "x"), "Normal", "Ready", "fine")


async def test_resync_heals_what_no_watch_told(control_plane: Any, api: KubeApi, namespace: str) -> None:
    create(control_plane, camera(namespace, "kept"))
    create(control_plane, camera(namespace, "gone", "95270001ABCDEFG1"))
    store = await loaded(api, namespace)
    while store._changed:
        await next_change(store)
    assert await store.resync() == 0
    path = object_path("Camera", namespace)
    control_plane.api("DELETE", f"{path}/gone")
    create(control_plane, camera(namespace, "new", "95270001ABCDEFG2"))
    patch = {"spec": {"displayName": "Yard"}}
    control_plane.api("PATCH", f"{path}/kept", patch, "application/merge-patch+json")
    assert await store.resync() == 3
    assert [d.ref.name for d in await store.list("Camera", namespace)] == ["kept", "new"]
    kept = await store.get(Ref("Camera", namespace, "kept"))
    assert kept is not None
    assert kept.spec["displayName"] == "Yard"
    assert {(await next_change(store)).name for _ in range(3)} == {"kept", "gone", "new"}


async def test_a_changed_secret_wakes_those_that_refer_to_it(
    control_plane: Any, api: KubeApi, namespace: str
) -> None:
    create(control_plane, server(namespace))
    create(control_plane, camera(namespace))
    store = await loaded(api, namespace)
    while store._changed:
        await next_change(store)
    store.secret_changed(namespace, "something-else")
    assert not store._changed
    store.secret_changed(namespace, "manage")
    assert await next_change(store) == Ref("RopServer", namespace, "home")
    assert not store._changed


def test_references_to_secrets_are_found_at_any_depth() -> None:
    spec = {
        "serverRef": {"name": "home"},
        "external": {"tokenRef": {"name": "manage", "key": "token"}},
        "alarms": {"sinks": [{"name": "ops", "urlRef": {"name": "alarm", "key": "url"}}]},
    }
    assert referred(spec) == {"manage", "alarm"}


def test_an_older_copy_changes_nothing() -> None:
    cache = ObjectCache()

    def copy(version: str, uid: str = "u1") -> dict[str, Any]:
        item = camera("video")
        item["metadata"] |= {"resourceVersion": version, "uid": uid}
        return item

    ref = Ref("Camera", "video", "front-door")
    assert cache.put(copy("9"))
    assert not cache.put(copy("9"))
    assert not cache.put(copy("8"))
    assert cache.put(copy("10"))
    assert not cache.drop(ref, "another")
    assert cache.drop(ref, "u1")
    assert not cache.put(copy("11"))  # a late answer of the dead object
    assert cache.put(copy("12", "u2"))


async def test_a_cluster_without_our_kinds_is_named(control_plane: Any, namespace: str) -> None:
    class Elsewhere(KubeApi):
        async def request(self, method: str, path: str, **given: Any) -> dict[str, Any]:
            return await super().request(method, path.replace("/rop.dev/v1alpha1/", "/rop.dev/v9/"), **given)

    api = Elsewhere(lambda: load_credentials(str(control_plane.kubeconfig)))
    try:
        with pytest.raises(PortError) as missing:
            await KubeStore(api, [namespace]).load()
    finally:
        await api.close()
    assert missing.value.reason == "CRDMissing"
    assert "crds/" in missing.value.message


async def test_refusals_and_silence_have_reasons(control_plane: Any, api: KubeApi, tmp_path: Any) -> None:
    with pytest.raises(KubeError) as absent:
        await api.request("GET", "/api/v1/namespaces/nowhere")
    assert (absent.value.status, absent.value.reason) == (404, "NotFound")
    text = control_plane.kubeconfig.read_text().replace(f":{control_plane.port}", ":9")
    broken = tmp_path / "kubeconfig"
    broken.write_text(text)
    nowhere = KubeApi(lambda: load_credentials(str(broken)))
    with pytest.raises(PortError) as silent:
        await nowhere.request("GET", "/version")
    await nowhere.close()
    assert silent.value.reason == "Unreachable"
    with pytest.raises(PortError) as unusable:
        await load_credentials(str(tmp_path / "missing"))
    assert unusable.value.reason == "KubeconfigInvalid"
    assert "--kubeconfig" in unusable.value.message


async def test_credentials_show_no_token() -> None:
    from rop_operator.adapters.kube_api import Credentials

    assert "s3cret" not in repr(Credentials("https://x", token="s3cret"))


async def test_a_refused_token_is_read_again(control_plane: Any, namespace: str) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    kubeconfig = control_plane.account(namespace, "renewed", rules)
    good = await load_credentials(str(kubeconfig))
    reads: list[str | None] = ["wrong", good.token]

    async def load() -> Any:
        from dataclasses import replace

        return replace(good, token=reads.pop(0))

    api = KubeApi(load)
    answer = await api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps")
    await api.close()
    assert answer["kind"] == "ConfigMapList"
    assert reads == []
    assert json.dumps(answer)
