"""`rop-operator` with a real API server, a real core server that runs elsewhere and virtual cameras."""

import base64
import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

BIN = Path(sys.executable).parent
LOOPBACK_BROADCAST = "127.255.255.255"
UID = "9527000100000001"


def server(site: Any, **spec: Any) -> dict[str, Any]:
    external = {
        "url": f"https://127.0.0.1:{site.manage_port}",
        "caRef": {"name": "manage", "key": "ca.crt"},
        "tokenRef": {"name": "manage", "key": "token"},
    }
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "RopServer",
        "metadata": {"name": "home"},
        "spec": {
            "host": "127.0.0.1",
            "external": external,
            "acknowledge": [{"edge": "NoBackup", "value": "home"}],
            **spec,
        },
    }


def camera(name: str, uid: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "Camera",
        "metadata": {"name": name},
        "spec": {"serverRef": {"name": "home"}, "uid": uid, "provision": {"attempt": 1, "lan": {}}, **spec},
    }


def ready_site(site: Any, **server_spec: Any) -> None:
    """A server and one camera, set up by the operator."""
    site.start_server()
    site.start_camera("front-door", UID)
    site.start_operator()
    site.leading()
    site.apply(server(site, **server_spec), camera("front-door", UID, displayName="Front door"))
    site.wait("RopServer", "home", "Ready")
    site.wait("Camera", "front-door", "Ready")


def device_events(site: Any, event: str) -> list[dict[str, Any]]:
    lines = (site.folder / "front-door" / "device.log").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


def test_from_yaml_to_the_wire_and_back(site: Any) -> None:
    ready_site(site, settingsResync="2s")
    assert site.device("front-door")["deviceName"] == "Front door"
    item = site.get("Camera", "front-door")
    assert item["metadata"]["finalizers"] == ["rop.dev/revoke"]
    assert "annotations" not in item["metadata"]

    renamed = camera("front-door", UID, displayName="Yard")
    planned = site.ropctl("plan", "-f", "-", stdin=json.dumps(renamed), expect=2)
    assert "write displayName = 'Yard' (1 write, 0 wakes)" in planned
    site.apply(renamed)
    site.poll("the camera has the name", lambda: site.device("front-door")["deviceName"] == "Yard")
    site.wait("Camera", "front-door", "SettingsInSync")
    site.control("front-door", "set-name", "Mallory")
    site.poll("the name is repaired", lambda: site.device("front-door")["deviceName"] == "Yard")
    site.wait("Camera", "front-door", "Ready")
    site.ropctl("plan", "-f", "-", stdin=json.dumps(renamed), expect=0)
    site.ropctl("plan", expect=0)
    assert "FAIL" not in site.ropctl("doctor")
    assert "Ready=True" in site.ropctl("describe", "camera", "front-door")
    assert len(device_events(site, "setup")) == 1

    writes = len(device_events(site, "write"))
    site.ropctl("delete", "camera", "front-door")
    assert site.get("Camera", "front-door") is None
    online = len(device_events(site, "online"))
    site.processes[1].terminate()
    site.processes[1].wait()
    refused = len(device_events(site, "refused"))
    site.start_camera("front-door", UID)
    site.poll("its certificate opens no port", lambda: len(device_events(site, "refused")) > refused + 1)
    assert len(device_events(site, "online")) == online
    assert len(device_events(site, "write")) == writes


def test_idle_means_no_writes(site: Any) -> None:
    ready_site(site)
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{site.namespace}/leases/rop-operator"

    def versions() -> list[str]:
        names = (("RopServer", "home"), ("Camera", "front-door"))
        return [site.get(kind, name)["metadata"]["resourceVersion"] for kind, name in names]

    def renewed() -> str:
        text: str = site.plane.api("GET", lease)[1]["spec"]["renewTime"]
        return text

    def still() -> bool:
        first, then = versions(), renewed()
        site.poll("the lease is renewed", lambda: renewed() != then)
        return versions() == first

    site.poll("nothing changes between two renewals", still)
    before, events = versions(), site.ropctl("events", "-o", "json")
    for _ in range(2):
        then = renewed()
        site.poll("the lease is renewed", lambda then=then: renewed() != then)
    assert versions() == before
    assert site.ropctl("events", "-o", "json") == events


def test_killed_and_replaced_it_goes_on_and_repeats_nothing(site: Any) -> None:
    ready_site(site)
    key = (site.folder / "front-door" / "identity").stat().st_ino
    standby = site.start_operator("standby")
    site.poll("the standby waits", lambda: "waiting for the lease" in site.log("standby"))
    site.processes[2].kill()
    site.leading("standby")
    site.apply(camera("front-door", UID, displayName="Garage"))
    site.poll("the name arrives", lambda: site.device("front-door")["deviceName"] == "Garage")
    assert len(device_events(site, "setup")) == 1
    assert (site.folder / "front-door" / "identity").stat().st_ino == key
    assert site.condition("RopServer", "home", "Ready")["status"] == "True"
    third = site.start_operator("third")
    site.poll("the third waits", lambda: "waiting for the lease" in site.log("third"))
    standby.send_signal(signal.SIGTERM)
    assert standby.wait(20) == 0
    site.leading("third")
    third.send_signal(signal.SIGTERM)
    assert third.wait(20) == 0


def test_a_lease_that_is_taken_away_ends_the_process(site: Any) -> None:
    operator = site.start_operator()
    site.leading()
    path = f"/apis/coordination.k8s.io/v1/namespaces/{site.namespace}/leases/rop-operator"
    patch = {"spec": {"holderIdentity": "someone-else", "leaseDurationSeconds": 60}}
    site.plane.api("PATCH", path, patch, "application/merge-patch+json")
    assert operator.wait(30) == 75


def test_secrets_are_looked_at_again_when_they_change(site: Any) -> None:
    site.start_server()
    site.start_operator()
    site.leading()
    document = server(site)
    document["spec"]["external"]["tokenRef"]["name"] = "late"
    site.apply(document)
    site.wait("RopServer", "home", "Ready", "False", "SecretNotFound")
    token = site.plane.api("GET", f"/api/v1/namespaces/{site.namespace}/secrets/manage")[1]["data"]["token"]
    value = base64.b64decode(token)
    site.plane.secret(site.namespace, "late", {"token": value}, referable=False)
    site.wait("RopServer", "home", "Ready", "False", "SecretNotReferable")
    site.ropctl("secret", "set", "late", "token", stdin=value.decode())
    site.wait("RopServer", "home", "Ready")
    everything = json.dumps(site.get("RopServer", "home")) + site.log("operator") + site.ropctl("events")
    assert value.decode() not in everything


def test_a_server_of_the_client_interface_is_polled(site: Any) -> None:
    site.start_server()
    document = server(site)
    document["spec"]["external"] = {
        "url": f"http://127.0.0.1:{site.ports['clientHttp']}",
        "interface": "ClientAPI",
    }
    site.start_camera("front-door", UID)
    site.start_operator()
    site.leading()
    site.apply(document, camera("front-door", UID, displayName="Front door"))
    site.wait("RopServer", "home", "FullyObserved", "False", "PollingOnly")
    site.wait("Camera", "front-door", "Online")
    site.poll("the camera has the name", lambda: site.device("front-door")["deviceName"] == "Front door")
    site.ropctl("delete", "camera", "front-door")
    assert len(device_events(site, "setup")) == 1


def test_a_server_without_external_waits_for_a_person(site: Any) -> None:
    site.start_operator()
    site.leading()
    document = server(site)
    del document["spec"]["external"]
    site.apply(document)
    site.wait("RopServer", "home", "Stalled", "True", "ExternalRequired")
    assert "spec.external" in site.condition("RopServer", "home", "Stalled")["message"]
    assert "ExternalRequired" in site.ropctl("doctor", expect=1)
    assert "DeleteServer" in site.ropctl("delete", "ropserver", "home", expect=1)
    document["spec"]["acknowledge"] = [{"edge": "DeleteServer", "value": "home"}]
    site.apply(document)
    site.ropctl("delete", "ropserver", "home")


def test_a_hand_over_from_a_laptop(site: Any) -> None:
    site.start_server()
    site.start_camera("front-door", UID)
    site.start_operator()
    site.leading()
    document = camera("front-door", UID)
    del document["spec"]["provision"]
    site.apply(server(site), document)
    site.wait("Camera", "front-door", "Accepted")
    lan = (
        *("--allow-loopback", "--discovery-address", LOOPBACK_BROADCAST),
        *("--discovery-port", str(site.discovery_port)),
    )
    found = json.loads(site.ropctl("discover", "--seconds", "1", *lan, "-o", "json"))["items"]
    assert [(row["uid"], row["camera"]) for row in found] == [(UID, f"{site.namespace}/front-door")]
    qr = site.ropctl("qr", "front-door", "--once")
    assert "valid for" in qr
    assert "one-way" in qr
    said = site.ropctl("provision", "front-door", "-y", *lan)
    assert "one-way" in said
    assert "front-door is online" in said
    assert "nothing to do" in site.ropctl("provision", "front-door", "-y", *lan)
    assert len(device_events(site, "setup")) == 1
    site.wait("Camera", "front-door", "Ready")


def test_liveness_is_served(site: Any) -> None:
    (port,) = site.free_ports(1)
    site.start_operator("operator", "--liveness", f"http://127.0.0.1:{port}/healthz")
    site.leading()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
        assert json.load(answer) == {"stalled": False}


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--lan-cidrs", "nonsense"], 64, "nonsense"),
        (["--frobnicate"], 64, "No such option"),
        (["--kubeconfig", "/nowhere", "--namespace", "x"], 78, "--kubeconfig"),
    ],
)
def test_exit_codes_of_a_wrong_start(flags: list[str], code: int, said: str) -> None:
    done = subprocess.run([BIN / "rop-operator", *flags], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def test_no_namespace_and_no_rights_are_named(site: Any) -> None:
    command = [BIN / "rop-operator", "--kubeconfig", str(site.plane.kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 78
    assert "--namespace NAME" in done.stdout
    site.kubeconfig = site.plane.account(site.namespace, "nobody", [])
    operator = site.start_operator()
    assert operator.wait(60) == 78
    assert "leases" in site.log("operator")
