"""`ropctl` on a real API server, with no operator running."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rop_operator.adapters.kube_store import object_path

Run = Callable[..., Any]
UID = "95270001ABCDEFGH"


def camera(name: str = "front-door", uid: str = UID, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "Camera",
        "metadata": {"name": name},
        "spec": {"serverRef": {"name": "home"}, "uid": uid, **spec},
    }


SERVER: dict[str, Any] = {
    "apiVersion": "rop.dev/v1alpha1",
    "kind": "RopServer",
    "metadata": {"name": "home"},
    "spec": {"host": "rop.example.net", "external": {"url": "http://192.0.2.1:61009", "interface": "ClientAPI"}},
}


def acknowledged() -> dict[str, Any]:
    """The server with what its deletion needs."""
    spec = {**SERVER["spec"], "acknowledge": [{"edge": "DeleteServer", "value": "home"}]}
    return {**SERVER, "spec": spec}


def stream(*documents: dict[str, Any]) -> str:
    text: str = yaml.safe_dump_all(documents)
    return text


def test_apply_get_describe_delete(on_cluster: Run, namespace: str) -> None:
    done = on_cluster("apply", "-f", "-", stdin=stream(SERVER, camera()))
    assert done.stdout.splitlines() == ["ropserver.rop.dev/home created", "camera.rop.dev/front-door created"]
    done = on_cluster("apply", "-f", "-", stdin=stream(SERVER, camera(displayName="Yard")))
    assert done.stdout.splitlines() == ["ropserver.rop.dev/home unchanged", "camera.rop.dev/front-door configured"]
    shown = json.loads(on_cluster("get", "camera", "front-door", "-o", "json").stdout)
    assert shown["spec"]["displayName"] == "Yard"
    assert shown["metadata"]["namespace"] == namespace
    assert "managedFields" not in shown["metadata"]
    on_cluster("apply", "-f", "-", stdin=stream(camera()))
    assert "displayName" not in on_cluster("get", "cam", "front-door", "-o", "yaml").stdout
    heading, row = on_cluster("get", "cameras").stdout.splitlines()
    assert heading.split()[:3] == ["NAME", "UID", "SERVER"]
    assert row.split()[:3] == ["front-door", UID, "home"]
    assert "none yet" in on_cluster("describe", "cam/front-door").stdout
    assert "DeleteServer, value: home" in on_cluster("delete", "rs", "home", expect=1).stderr
    on_cluster("apply", "-f", "-", stdin=stream(acknowledged()))
    assert on_cluster("delete", "-f", "-", stdin=stream(SERVER, camera())).stdout.splitlines() == [
        "camera.rop.dev/front-door deleted",
        "ropserver.rop.dev/home deleted",
    ]
    assert "is not there" in on_cluster("delete", "camera", "front-door", expect=1).stderr
    assert "No cameras" in on_cluster("get", "cameras").stderr
    assert json.loads(on_cluster("get", "cameras", "-o", "json").stdout)["items"] == []


def test_apply_is_all_or_nothing(on_cluster: Run, control_plane: Any, namespace: str) -> None:
    on_cluster("apply", "-f", "-", stdin=stream(camera()))
    changed = camera(uid="95270001ABCDEFGX")
    done = on_cluster("apply", "-f", "-", stdin=stream(camera("new", "95270001ABCDEFGN"), changed), expect=1)
    assert done.stderr.startswith("standard input: document 2 (Camera/front-door): spec")
    assert "another device is another Camera" in done.stderr
    assert control_plane.api("GET", object_path("Camera", namespace, "new"))[0] == 404


def test_fields_of_another_writer_are_left_unless_forced(
    on_cluster: Run, control_plane: Any, namespace: str
) -> None:
    path = object_path("Camera", namespace, "front-door")
    other = camera(displayName="Theirs")
    status, answer = control_plane.api(
        "PATCH", f"{path}?fieldManager=gitops", other, "application/apply-patch+yaml"
    )
    assert status == 201, answer
    mine = stream(camera(displayName="Mine"))
    assert "spec.displayName" in on_cluster("apply", "-f", "-", stdin=mine, expect=1).stderr
    on_cluster("apply", "--force-conflicts", "-f", "-", stdin=mine)
    assert control_plane.api("GET", path)[1]["spec"]["displayName"] == "Mine"


def test_plan_has_exit_codes_for_scripts(on_cluster: Run) -> None:
    documents = stream(SERVER, camera())
    done = on_cluster("plan", "-f", "-", stdin=documents, expect=2)
    assert f"{'Camera'}/" in done.stdout
    assert ": created" in done.stdout
    on_cluster("apply", "-f", "-", stdin=documents)
    planned = json.loads(on_cluster("plan", "-o", "json", "-f", "-", stdin=documents, expect=0).stdout)
    assert {row["document"] for row in planned["plans"]} == {"unchanged"}
    assert planned["totals"] == {"writes": 0, "wakes": 0, "reboots": 0}
    done = on_cluster("plan", "-f", "-", stdin=stream(camera(uid="95270001ABCDEFGX")), expect=1)
    assert "another device is another Camera" in done.stderr


def test_plan_of_a_deletion(on_cluster: Run) -> None:
    documents = stream(SERVER, camera())
    on_cluster("plan", "--delete", "-f", "-", stdin=documents, expect=0)
    on_cluster("apply", "-f", "-", stdin=documents)
    assert "/front-door: deleted" in on_cluster("plan", "--delete", "-f", "-", stdin=documents, expect=2).stdout
    assert "needs -f" in on_cluster("plan", "--delete", expect=64).stderr


def test_shipped_examples_are_accepted(on_cluster: Run, control_plane: Any, namespace: str) -> None:
    examples = Path(__file__).parents[3] / "examples" / "cluster"
    on_cluster("apply", "-f", str(examples))
    found = json.loads(on_cluster("get", "cameras", "-o", "json").stdout)["items"]
    assert [item["metadata"]["name"] for item in found] == ["front-door", "gate"]
    control_plane.kubectl("apply", "-n", namespace, "--dry-run=server", "-f", str(examples / "operator.yaml"))


def test_events_are_those_of_our_objects(on_cluster: Run, control_plane: Any, namespace: str) -> None:
    on_cluster("apply", "-f", "-", stdin=stream(camera()))
    for kind, version, reason in (("Camera", "rop.dev/v1alpha1", "SetUp"), ("Pod", "v1", "Killing")):
        body = {
            "metadata": {"name": f"e-{kind.lower()}", "namespace": namespace},
            "involvedObject": {"apiVersion": version, "kind": kind, "name": "front-door", "namespace": namespace},
            "type": "Normal",
            "reason": reason,
            "message": "hello \x1b[31m",
            "lastTimestamp": "2026-01-01T00:00:00Z",
            "count": 2,
        }
        assert control_plane.api("POST", f"/api/v1/namespaces/{namespace}/events", body)[0] == 201
    rows = json.loads(on_cluster("events", "-o", "json").stdout)["items"]
    assert [row["reason"] for row in rows] == ["SetUp"]
    assert rows[0]["count"] == 2
    text = on_cluster("events", "camera", "front-door").stdout
    assert r"hello \x1b[31m" in text
    assert "SetUp" in on_cluster("describe", "camera", "front-door").stdout


def test_a_secret_is_labelled_and_keeps_its_other_keys(
    on_cluster: Run, control_plane: Any, namespace: str
) -> None:
    on_cluster("secret", "set", "manage", "token", stdin="rop_abc\n")
    done = on_cluster("secret", "set", "manage", "ca.crt", stdin="PEM\n")
    assert "PEM" not in done.stdout + done.stderr
    on_cluster("secret", "set", "manage", "token", stdin="rop_def\n")
    _, secret = control_plane.api("GET", f"/api/v1/namespaces/{namespace}/secrets/manage")
    assert secret["data"] == {"token": "cm9wX2RlZg==", "ca.crt": "UEVN"}
    assert secret["metadata"]["labels"] == {"rop.dev/referable": "true"}


def test_doctor_says_what_is_missing(on_cluster: Run) -> None:
    on_cluster("apply", "-f", "-", stdin=stream(camera()))
    done = on_cluster("doctor", expect=1)
    assert "no operator has ever led" in done.stdout
    assert "rop-operator --namespace" in done.stdout
    checks = {
        c["check"]: c["good"] for c in json.loads(on_cluster("doctor", "-o", "json", expect=1).stdout)["items"]
    }
    assert checks["cluster"]
    assert checks["kinds"]
    assert not checks["operator"]


def test_a_missing_namespace_is_named(ropctl: Run, control_plane: Any) -> None:
    flags = ("--kubeconfig", str(control_plane.kubeconfig), "-n", "nowhere")
    done = ropctl(*flags, "apply", "-f", "-", stdin=stream(camera()), expect=1)
    assert 'namespaces "nowhere" not found' in done.stderr


@pytest.mark.parametrize("command", [("qr", "gate"), ("provision", "gate", "-y"), ("get", "camera", "gate")])
def test_a_camera_that_is_not_there(on_cluster: Run, command: tuple[str, ...]) -> None:
    assert "there is no Camera gate" in on_cluster(*command, expect=1).stderr
