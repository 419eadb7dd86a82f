"""`rop-operator` runs a server: the API server is real, the StatefulSet's pod is played by its real programs."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BIN = Path(sys.executable).parent
UID = "9527000100000007"
DEVICE = ("getCAHttps", "getCertHttps", "registerHttps", "keepAliveTCP", "signalingTLS", "streamTLS", "streamTCP")


class Pod:
    """Runs what the pod's template says, with the pod's own account, on this machine."""

    def __init__(self, site: Any, port: int) -> None:
        self.site, self.port = site, port
        self.data: Path = site.folder / "data"

    def prepare(self, api: str | None = None) -> "subprocess.CompletedProcess[str]":
        site = self.site
        account = site.folder / "account"
        account.mkdir(exist_ok=True)
        base = f"/api/v1/namespaces/{site.namespace}/serviceaccounts/home-server/token"
        status, answer = site.plane.api(
            "POST", base, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        )
        assert status == 201, answer
        (account / "token").write_text(answer["status"]["token"])
        (account / "namespace").write_text(site.namespace)
        shutil.copy(site.plane.folder / "pki" / "ca.crt", account / "ca.crt")
        host, port = (api or f"127.0.0.1:{site.plane.port}").split(":")
        environment = {**os.environ, "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        template = self.workload()["spec"]["template"]["spec"]
        (container,) = template["initContainers"]
        flags = [
            {"/data": str(self.data), "/etc/rop/first": str(self.first(template))}.get(a, a)
            for a in container["args"]
        ]
        own = ["--listen", f"127.0.0.1:{self.port}", "--account", str(account)]
        command = [str(BIN / container["command"][0]), *flags, *own]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)

    def first(self, template: dict[str, Any]) -> Path:
        """The volume of the first start."""
        folder: Path = self.site.folder / "first"
        folder.mkdir(exist_ok=True)
        (volume,) = (v for v in template["volumes"] if v["name"] == "first")
        secret = self.secret(volume["secret"]["secretName"])
        for name, value in secret.items():
            (folder / name).write_bytes(value)
        return folder

    def workload(self) -> dict[str, Any]:
        path = f"/apis/apps/v1/namespaces/{self.site.namespace}/statefulsets/home"

        def made() -> dict[str, Any] | None:
            status, item = self.site.plane.api("GET", path)
            return item if status == 200 else None

        found: dict[str, Any] = self.site.poll("the StatefulSet is made", made)
        return found

    def secret(self, name: str) -> dict[str, bytes]:
        status, item = self.site.plane.api("GET", f"/api/v1/namespaces/{self.site.namespace}/secrets/{name}")
        assert status == 200, item
        return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}

    def scheduled(self) -> None:
        """The pod's object, ready: what controller and kubelet would write."""
        template = self.workload()["spec"]["template"]
        body = {"metadata": {**template["metadata"], "name": "home-0"}, "spec": template["spec"]}
        collection = f"/api/v1/namespaces/{self.site.namespace}/pods"
        status, answer = self.site.plane.api("POST", collection, body)
        assert status == 201, answer
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        self.site.plane.api("PATCH", f"{collection}/home-0/status", ready, "application/merge-patch+json")


@pytest.fixture
def pod(site: Any) -> Pod:
    (port, *ports) = site.free_ports(10)
    site.ports = dict(zip((*DEVICE, "clientRtsp", "clientHttp"), ports, strict=True))
    return Pod(site, port)


def server(site: Any, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "RopServer",
        "metadata": {"name": "home"},
        "spec": {
            "host": "127.0.0.1",
            "ports": site.ports,
            "kubernetes": {"service": {"type": "ClusterIP"}},
            "acknowledge": [{"edge": "NoBackup", "value": "home"}, {"edge": "DeleteServer", "value": "home"}],
            **spec,
        },
    }


def start(site: Any, pod: Pod) -> None:
    site.start_operator(
        "operator", "--server-image", "localhost/rop:1", "--server-url", f"https://127.0.0.1:{pod.port}"
    )
    site.leading()


def camera() -> dict[str, Any]:
    spec = {"serverRef": {"name": "home"}, "uid": UID, "provision": {"attempt": 1, "lan": {}}}
    return {"apiVersion": "rop.dev/v1alpha1", "kind": "Camera", "metadata": {"name": "front-door"}, "spec": spec}


def test_a_server_in_a_pod_from_yaml_to_a_camera(site: Any, pod: Pod) -> None:
    start(site, pod)
    site.apply(server(site))
    site.wait("RopServer", "home", "Serving", "False", "Starting")
    done = pod.prepare()
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == [
        "keys kept",
        "management token told",
    ]
    again = pod.prepare()
    assert (again.returncode, again.stdout) == (0, ""), again.stderr
    site.run_server()
    pod.scheduled()
    site.wait("RopServer", "home", "Ready")
    site.start_camera("front-door", UID)
    site.apply(camera())
    site.wait("Camera", "front-door", "Ready")

    network = f"/apis/networking.k8s.io/v1/namespaces/{site.namespace}/networkpolicies/home-server"
    site.plane.api("DELETE", network)
    site.poll("a child comes back", lambda: site.plane.api("GET", network)[0] == 200, 90.0)
    token = pod.secret("home-manage")["token"].decode()
    key = json.loads((pod.data / "config.json").read_text())["authCode"]["signKey"]
    everything = (
        site.ropctl("get", "ropserver", "home", "-o", "yaml") + site.ropctl("events") + site.log("operator")
    )
    assert token not in everything
    assert key not in everything + json.dumps(pod.workload())

    site.ropctl("delete", "ropserver", "home")
    gone = f"/apis/apps/v1/namespaces/{site.namespace}/statefulsets/home"
    site.poll("the workload goes", lambda: site.plane.api("GET", gone)[0] == 404)
    assert "keys.tar" in pod.secret("home-keys-1")


def test_a_lost_volume_gets_its_keys_back(site: Any, pod: Pod) -> None:
    start(site, pod)
    site.apply(server(site))
    assert pod.prepare().returncode == 0
    root = (pod.data / "certs/ECC/Root/ca.pem").read_bytes()
    sign_key = json.loads((pod.data / "config.json").read_text())["authCode"]["signKey"]
    shutil.rmtree(pod.data)
    done = pod.prepare()
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == [
        "keys restored",
        "management token told",
    ]
    assert (pod.data / "certs/ECC/Root/ca.pem").read_bytes() == root
    assert json.loads((pod.data / "config.json").read_text())["authCode"]["signKey"] == sign_key
    site.run_server()
    pod.scheduled()
    site.wait("RopServer", "home", "Ready")


def test_the_pods_account_reaches_nothing_else(site: Any, pod: Pod) -> None:
    start(site, pod)
    site.apply(server(site))
    assert pod.prepare().returncode == 0
    user = f"system:serviceaccount:{site.namespace}:home-server"
    role = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{site.namespace}/roles/home-server"
    (rule,) = site.plane.api("GET", role)[1]["rules"]
    assert (rule["resources"], rule["verbs"]) == (["secrets"], ["get", "patch"])
    assert {"home-manage", "home-keys-1"} <= set(rule["resourceNames"])
    with pytest.raises(AssertionError, match="orbidden"):
        site.plane.kubectl("get", "secrets", "--as", user, "-n", site.namespace)


def test_without_the_api_server_a_known_volume_serves(site: Any, pod: Pod) -> None:
    start(site, pod)
    site.apply(server(site))
    (nowhere,) = site.free_ports(1)
    pod.workload()
    first = pod.prepare(f"127.0.0.1:{nowhere}")
    assert first.returncode == 75
    assert not (pod.data / "config.json").exists()
    assert pod.prepare().returncode == 0
    later = pod.prepare(f"127.0.0.1:{nowhere}")
    assert later.returncode == 0
    assert "served with the keys of the volume" in later.stdout


def test_bad_members_of_the_first_start_are_told(site: Any, pod: Pod) -> None:
    start(site, pod)
    site.apply(server(site))
    pod.workload()
    folder = pod.first(pod.workload()["spec"]["template"]["spec"])
    (folder / "members.json").write_text("[]")
    pod.first = lambda template: folder  # type: ignore[method-assign]
    done = pod.prepare()
    assert done.returncode == 78
    assert done.stderr.startswith("rop-pod: members.json")
