"""A RopServer as objects of a real API server; the pod is played by the real `rop-pod` and `rop-server`."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from rop_operator.adapters.kube_api import KubeApi, load_credentials
from rop_operator.adapters.kube_names import DEVICE_PORTS, Settings
from rop_operator.adapters.kube_runtime import KubeRuntime
from rop_operator.adapters.kube_store import document_of, object_path
from rop_operator.api.facts import Document, Ref
from rop_operator.ports import PortError

MEMBERS = {"alarm.notificationURL": "https://hook.example.net/secret-canary"}
ENVIRONMENT = {"ROP_HOSTNAME": "rop.example.net"}
PATHS = {
    "Service": "/api/v1/namespaces/{}/services",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


def node_ports(first: int) -> dict[str, int]:
    """Device ports in the node-port range; a number belongs to one Service of the cluster."""
    return dict(zip(DEVICE_PORTS, range(first, first + 7), strict=True))


def has_manage(service: dict[str, Any]) -> bool:
    return any(port["name"] == "manage" and port["port"] == 7443 for port in service["spec"]["ports"])


class Cluster:
    """One namespace with one RopServer `home`, seen by the runtime with the rights that are shipped."""

    ref: Ref

    def __init__(self, plane: Any, namespace: str, api: KubeApi) -> None:
        self.plane = plane
        self.namespace = namespace
        self.ref = Ref("RopServer", namespace, "home")
        self.document: Document | None = None
        self.runtime = KubeRuntime(api, self.find, Settings("localhost/rop:1"), drift_every=0)

    async def find(self, ref: Ref) -> Document | None:
        return self.document if ref == self.ref else None

    def write(self, **spec: Any) -> None:
        item = {
            "apiVersion": "rop.dev/v1alpha1",
            "kind": "RopServer",
            "metadata": {"name": "home", "namespace": self.namespace},
            "spec": {"host": "rop.example.net", **spec},
        }
        collection = object_path("RopServer", self.namespace)
        if self.document is None:
            status, answer = self.plane.api("POST", collection, item)
        else:
            status, answer = self.plane.api(
                "PATCH", f"{collection}/home", {"spec": item["spec"]}, "application/merge-patch+json"
            )
        assert status in (200, 201), answer
        self.document = document_of(answer)

    async def ensure(self) -> Any:
        return await self.runtime.ensure(self.ref, MEMBERS, ENVIRONMENT)

    def path(self, kind: str, name: str) -> str:
        return f"{PATHS[kind].format(self.namespace)}/{name}"

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        status, item = self.plane.api("GET", self.path(kind, name))
        return item if status == 200 else None

    def patch(self, kind: str, name: str, body: dict[str, Any], manager: str = "kubectl") -> dict[str, Any]:
        path = f"{self.path(kind, name)}?fieldManager={manager}"
        status, item = self.plane.api("PATCH", path, body, "application/merge-patch+json")
        assert status == 200, item
        return dict(item)

    def versions(self) -> dict[str, str]:
        """Resource versions of everything in the namespace."""
        found = {}
        for kind, path in PATHS.items():
            for item in self.plane.api("GET", path.format(self.namespace))[1]["items"]:
                found[f"{kind} {item['metadata']['name']}"] = item["metadata"]["resourceVersion"]
        return found

    def pod(self, ready: bool = True, **status: Any) -> None:
        """What the StatefulSet controller and a kubelet would make."""
        workload = self.get("StatefulSet", "home")
        assert workload is not None
        template = workload["spec"]["template"]
        body = {"metadata": {**template["metadata"], "name": "home-0"}, "spec": template["spec"]}
        collection = f"/api/v1/namespaces/{self.namespace}/pods"
        code, answer = self.plane.api("POST", collection, body)
        assert code == 201, answer
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        path = f"{collection}/home-0/status"
        code, answer = self.plane.api(
            "PATCH", path, {"status": {"conditions": conditions, **status}}, "application/merge-patch+json"
        )
        assert code == 200, answer

    def has_pod(self) -> bool:
        """Whether the pod is there and stays (without a kubelet a deleted one lingers)."""
        status, pod = self.plane.api("GET", f"/api/v1/namespaces/{self.namespace}/pods/home-0")
        return status == 200 and "deletionTimestamp" not in pod["metadata"]

    def fill(self, name: str, data: dict[str, bytes], annotations: dict[str, str] | None = None) -> None:
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        self.patch("Secret", name, {"data": encoded, "metadata": {"annotations": annotations or {}}})


@pytest.fixture
async def cluster(control_plane: Any, namespace: str, shipped_rules: Any) -> AsyncIterator[Cluster]:
    kubeconfig = control_plane.account(namespace, "operator", shipped_rules)
    api = KubeApi(lambda: load_credentials(str(kubeconfig)))
    made = Cluster(control_plane, namespace, api)
    yield made
    await api.close()


async def test_a_server_becomes_objects(cluster: Cluster) -> None:
    cluster.write()
    state = await cluster.ensure()
    assert (state.state, state.message) == ("Starting", "the pod is not made yet")
    made = cluster.versions()
    first = next(name for name in made if name.startswith("Secret home-first-"))
    assert set(made) == {
        *("ServiceAccount home-server", "Role home-server", "RoleBinding home-server", "Secret home-manage"),
        *("Secret home-keys-1", first, "PersistentVolumeClaim home-data", "NetworkPolicy home-server"),
        *("PodDisruptionBudget home-server", "Service home-inside", "Service home-devices", "StatefulSet home"),
        *("ServiceAccount operator", "Role operator", "RoleBinding operator"),
    }
    for kind, name in (
        ("Secret", "home-keys-1"),
        ("Secret", "home-manage"),
        ("PersistentVolumeClaim", "home-data"),
    ):
        item = cluster.get(kind, name)
        assert item is not None
        assert "ownerReferences" not in item["metadata"], "it has to outlive the RopServer"
    workload = cluster.get("StatefulSet", "home")
    assert workload is not None
    assert workload["metadata"]["ownerReferences"][0]["kind"] == "RopServer"
    assert workload["spec"]["updateStrategy"] == {"type": "OnDelete"}
    secret = cluster.get("Secret", first.removeprefix("Secret "))
    assert secret is not None
    assert secret["immutable"] is True
    assert json.loads(base64.b64decode(secret["data"]["members.json"])) == MEMBERS
    for item in (workload, cluster.get("NetworkPolicy", "home-server")):
        assert "secret-canary" not in json.dumps(item)


async def test_the_pod_passes_the_restricted_standard(cluster: Cluster) -> None:
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    path = f"/api/v1/namespaces/{cluster.namespace}"
    status, answer = cluster.plane.api("PATCH", path, label, "application/merge-patch+json")
    assert status == 200, answer
    cluster.write()
    await cluster.ensure()
    cluster.pod()


async def test_nothing_is_written_when_nothing_changed(cluster: Cluster) -> None:
    exposed = {"clientAccess": "Labelled", "service": {"type": "NodePort"}}
    cluster.write(kubernetes=exposed, ports=node_ports(31000))
    await cluster.ensure()
    before = cluster.versions()
    for _ in range(3):
        await cluster.ensure()
    assert cluster.versions() == before
    drift = await cluster.runtime.drift(cluster.ref)
    assert (drift.parts, drift.outdated) == ((), None)
    times = [m["time"] for m in (cluster.get("StatefulSet", "home") or {})["metadata"]["managedFields"]]
    await cluster.ensure()
    assert [m["time"] for m in (cluster.get("StatefulSet", "home") or {})["metadata"]["managedFields"]] == times


async def test_node_ports_are_the_numbers_of_the_document(cluster: Cluster) -> None:
    cluster.write(kubernetes={"service": {"type": "NodePort"}}, ports=node_ports(31100))
    await cluster.ensure()
    service = cluster.get("Service", "home-devices")
    assert service is not None
    assert {p["nodePort"] for p in service["spec"]["ports"]} == set(range(31100, 31107))
    assert service["spec"]["externalTrafficPolicy"] == "Local"


async def test_ports_out_of_the_range_are_told(cluster: Cluster) -> None:
    cluster.write(kubernetes={"service": {"type": "NodePort"}})
    state = await cluster.ensure()
    assert state.state == "Failed"
    assert "30000-32767" in state.message


async def test_the_nodes_network_needs_no_service(cluster: Cluster) -> None:
    cluster.write()
    await cluster.ensure()
    cluster.write(kubernetes={"service": {"type": "HostNetwork"}})
    assert "Service home-devices" in (await cluster.runtime.drift(cluster.ref)).parts
    await cluster.ensure()
    assert cluster.get("Service", "home-devices") is None
    workload = cluster.get("StatefulSet", "home")
    assert workload is not None
    assert workload["spec"]["template"]["spec"]["hostNetwork"] is True


@pytest.mark.parametrize(
    ("kind", "name", "edit", "read"),
    [
        ("Service", "home-inside", {"spec": {"ports": [{"name": "x", "port": 1}]}}, has_manage),
        ("Service", "home-devices", {"spec": {"type": "ClusterIP", "externalTrafficPolicy": None}}, None),
        ("StatefulSet", "home", {"spec": {"replicas": 0}}, lambda i: i["spec"]["replicas"]),
        ("StatefulSet", "home", {"spec": {"updateStrategy": {"type": "RollingUpdate"}}}, None),
        ("NetworkPolicy", "home-server", {"spec": {"ingress": [{}]}}, lambda i: len(i["spec"]["ingress"])),
        ("Role", "home-server", {"rules": []}, lambda i: i["rules"]),
        ("PodDisruptionBudget", "home-server", {"spec": {"maxUnavailable": 1}}, None),
        ("Service", "home-inside", {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}, None),
    ],
)
async def test_drift_is_found_and_repaired(
    cluster: Cluster, kind: str, name: str, edit: dict[str, Any], read: Callable[[Any], Any] | None
) -> None:
    cluster.write()
    await cluster.ensure()
    before = cluster.get(kind, name)
    assert before is not None
    cluster.patch(kind, name, edit)
    assert (await cluster.runtime.drift(cluster.ref)).parts == (f"{kind} {name}",)
    await cluster.ensure()
    assert (await cluster.runtime.drift(cluster.ref)).parts == ()
    after = cluster.get(kind, name)
    assert after is not None
    spec = "rules" if kind == "Role" else "spec"
    if read is not None:
        assert read(after) == read(before)
    else:
        assert after[spec] == before[spec] or name == "home-devices"
    assert after["metadata"]["labels"] == before["metadata"]["labels"]


async def test_a_deleted_child_comes_back(cluster: Cluster) -> None:
    cluster.write()
    await cluster.ensure()
    for kind, name in (("NetworkPolicy", "home-server"), ("Service", "home-inside"), ("Secret", "home-keys-1")):
        cluster.plane.api("DELETE", cluster.path(kind, name))
        assert (await cluster.runtime.drift(cluster.ref)).parts == (f"{kind} {name}",)
        await cluster.ensure()
        assert cluster.get(kind, name) is not None


async def test_members_of_others_stay(cluster: Cluster) -> None:
    cluster.write()
    await cluster.ensure()
    cluster.patch("Service", "home-inside", {"metadata": {"annotations": {"example.net/team": "yard"}}})
    sidecar = {"name": "log", "image": "localhost/log:1"}
    path = cluster.path("StatefulSet", "home") + "?fieldManager=injector"
    body = {"spec": {"template": {"spec": {"containers": [sidecar]}}}}
    status, answer = cluster.plane.api("PATCH", path, body, "application/strategic-merge-patch+json")
    assert status == 200, answer
    assert (await cluster.runtime.drift(cluster.ref)).parts == ()
    cluster.patch("StatefulSet", "home", {"spec": {"replicas": 0}})
    cluster.write(kubernetes={"clientAccess": "Labelled"})
    await cluster.ensure()
    service, workload = cluster.get("Service", "home-inside"), cluster.get("StatefulSet", "home")
    assert service is not None
    assert workload is not None
    assert service["metadata"]["annotations"]["example.net/team"] == "yard"
    assert {p["name"] for p in service["spec"]["ports"]} == {"manage", "rtsp", "http"}
    assert {c["name"] for c in workload["spec"]["template"]["spec"]["containers"]} == {"server", "log"}
    cluster.write(kubernetes={"clientAccess": "Loopback"})
    await cluster.ensure()
    service = cluster.get("Service", "home-inside")
    assert service is not None
    assert [p["name"] for p in service["spec"]["ports"]] == ["manage"]


async def test_an_object_of_somebody_else_is_left_alone(cluster: Cluster) -> None:
    body = {"metadata": {"name": "home-inside"}, "spec": {"ports": [{"port": 80}]}}
    status, theirs = cluster.plane.api("POST", PATHS["Service"].format(cluster.namespace), body)
    assert status == 201
    cluster.write()
    with pytest.raises(PortError, match="Service home-inside is there and not ours"):
        await cluster.ensure()
    assert cluster.get("Service", "home-inside") == theirs


async def test_a_pod_in_trouble_says_why(cluster: Cluster) -> None:
    cluster.write()
    await cluster.ensure()
    waiting = {"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
    container = {"name": "server", "ready": False, "restartCount": 0, "image": "", "imageID": "", **waiting}
    cluster.pod(ready=False, containerStatuses=[container])
    state = await cluster.ensure()
    assert (state.state, state.message) == ("Failed", "container server: ErrImagePull: no such image")


async def test_the_endpoint_is_what_the_pod_told(cluster: Cluster) -> None:
    cluster.write()
    await cluster.ensure()
    cluster.fill("home-manage", {"ca.crt": b"pem", "token": b"rop_word\n"})
    cluster.pod()
    state = await cluster.ensure()
    assert state.state == "Running"
    assert state.endpoint.url == f"https://home-inside.{cluster.namespace}.svc:7443"
    assert (state.endpoint.ca_pem, state.endpoint.token) == (b"pem", "rop_word")
    assert state.endpoint.server_name == "localhost"
    assert "rop_word" not in repr(state)


async def test_a_pod_whose_secret_was_emptied_tells_it_again(cluster: Cluster) -> None:
    cluster.write()
    await cluster.ensure()
    cluster.pod()
    assert (await cluster.ensure()).state == "Starting"
    assert not cluster.has_pod()


async def test_before_the_first_start_a_change_replaces_the_pod(cluster: Cluster) -> None:
    cluster.write()
    await cluster.ensure()
    cluster.pod(ready=False)
    cluster.write(host="other.example.net")
    await cluster.runtime.ensure(cluster.ref, {}, {"ROP_HOSTNAME": "other.example.net"})
    assert not cluster.has_pod()


async def test_a_served_pod_waits_for_its_turn(cluster: Cluster) -> None:
    cluster.write()
    await cluster.ensure()
    cluster.fill("home-manage", {"ca.crt": b"pem", "token": b"rop_word"})
    cluster.fill("home-keys-1", {"keys.tar": b"x"}, {"rop.dev/keys": "1"})
    cluster.pod()
    await cluster.ensure()
    assert cluster.get("Secret", "home-keys-2") is not None, "an empty one is ready for the next generation"
    assert (await cluster.runtime.drift(cluster.ref)).outdated is None
    first = [name for name in cluster.versions() if name.startswith("Secret home-first-")]
    await cluster.runtime.ensure(cluster.ref, {"other": "members"}, {})
    assert [name for name in cluster.versions() if name.startswith("Secret home-first-")] == first
    cluster.write(kubernetes={"resources": {"memory": "512Mi"}})
    assert (await cluster.runtime.drift(cluster.ref)).parts == ("StatefulSet home",)
    await cluster.ensure()
    drift = await cluster.runtime.drift(cluster.ref)
    assert (drift.parts, drift.outdated) == ((), "a newer template of Pod home-0")
    assert cluster.has_pod()
    state = await cluster.runtime.restart(cluster.ref)
    assert state.state == "Starting"
    assert not cluster.has_pod()


async def test_stop_keeps_volume_and_keys(cluster: Cluster) -> None:
    cluster.write()
    await cluster.ensure()
    await cluster.runtime.stop(cluster.ref)
    left = {name for name in cluster.versions() if "operator" not in name}
    assert {name for name in left if not name.startswith("Secret home-first-")} == {
        *("PersistentVolumeClaim home-data", "Secret home-keys-1", "Secret home-manage"),
    }
    await cluster.ensure()
    assert cluster.get("StatefulSet", "home") is not None


async def test_a_former_leader_writes_nothing(cluster: Cluster) -> None:
    cluster.write()
    cluster.runtime._guard = lambda: False
    before = cluster.versions()
    for call in (cluster.ensure, lambda: cluster.runtime.stop(cluster.ref)):
        with pytest.raises(PortError, match="another operator"):
            await call()
    assert cluster.versions() == before


async def test_a_deleted_server_is_not_made_anew(cluster: Cluster) -> None:
    cluster.write()
    assert cluster.document is not None
    cluster.document = replace(cluster.document, deleting=cluster.document.created)
    with pytest.raises(PortError, match="is gone"):
        await cluster.ensure()
