"""`ropctl` with a real agent: files, server, virtual camera, and the same answers as from a cluster."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from free_ports import free_ports

PORT_MEMBERS = (
    "getCAHttps",
    "getCertHttps",
    "registerHttps",
    "keepAliveTCP",
    "signalingTLS",
    "streamTLS",
    "streamTCP",
    "clientRtsp",
    "clientHttp",
)
Run = Callable[..., Any]


NO_BACKUP = [{"edge": "NoBackup", "value": "home"}]


def server(**spec: Any) -> dict[str, Any]:
    ports = dict(zip(PORT_MEMBERS, free_ports(len(PORT_MEMBERS)), strict=True))
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "RopServer",
        "metadata": {"name": "home"},
        "spec": {"host": "127.0.0.1", "ports": ports, "acknowledge": NO_BACKUP, **spec},
    }


def camera(uid: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "Camera",
        "metadata": {"name": "front-door"},
        "spec": {"serverRef": {"name": "home"}, "uid": uid, **spec},
    }


def stream(*documents: dict[str, Any]) -> str:
    text: str = yaml.safe_dump_all(documents)
    return text


def test_a_camera_from_yaml_to_the_wire(
    on_host: Run, discovery: list[str], tmp_path: Path, until: Run, uid: str
) -> None:
    home = server()
    documents = stream(home, camera(uid, displayName="Front door"))
    planned = on_host("plan", "-f", "-", stdin=documents, expect=2).stdout
    assert "RopServer/video/home: created" in planned
    assert "start the server" in planned
    done = on_host("apply", "--wait", "--timeout", "1", "-f", "-", stdin=documents, expect=1)
    assert done.stdout.splitlines() == ["ropserver.rop.dev/home created", "camera.rop.dev/front-door created"]
    assert "camera.rop.dev/front-door is not Ready after 1 s" in done.stderr

    found = json.loads(on_host("discover", "--seconds", "1", *discovery, "-o", "json").stdout)["items"]
    assert [(row["uid"], row["camera"]) for row in found] == [(uid, "video/front-door")]
    assert json.loads(on_host("discover", "--from-host", "-o", "json").stdout)["items"] == found
    until("the server is up", lambda: on_host("qr", "front-door", "--once", expect=None).returncode == 0)
    qr = on_host("qr", "front-door", "--once")
    assert "valid for" in qr.stdout
    said = on_host("provision", "front-door", "-y", *discovery)
    assert "one-way" in said.stderr
    assert "front-door is online" in said.stdout

    on_host("apply", "--wait", "--timeout", "40", "-f", "-", stdin=documents)
    assert "FAIL" not in on_host("doctor").stdout
    on_host("plan", "-f", "-", stdin=documents, expect=0)
    device = json.loads((tmp_path / "front-door" / "device.json").read_text())
    assert device["deviceName"] == "Front door"
    shown = json.loads(on_host("get", "camera", "front-door", "-o", "json").stdout)
    assert set(shown) == {"apiVersion", "kind", "metadata", "spec", "status"}
    heading, row = on_host("get", "cameras").stdout.splitlines()
    assert heading.split() == ["NAME", "UID", "SERVER", "ONLINE", "FIRMWARE", "READY", "REASON", "AGE"]
    assert row.split()[:4] == ["front-door", uid, "home", "Online"]
    assert "Ready=True" in on_host("describe", "camera", "front-door").stdout
    assert "REASON" in on_host("events").stdout

    on_host("delete", "camera", "front-door")
    assert "there is no Camera front-door" in on_host("get", "camera", "front-door", expect=1).stderr
    assert "Revoked" in on_host("get", "cameras", "--all", "--lan-seconds", "0").stdout
    said = on_host("apply", "--wait", "-f", "-", stdin=documents).stdout
    assert "camera.rop.dev/front-door created" in said, "it is back without a visit"
    on_host("delete", "camera", "front-door")
    assert "DeleteServer" in on_host("delete", "ropserver", "home", expect=1).stderr


def test_what_breaks_a_rule_changes_nothing_and_is_named(
    on_host: Run, tmp_path: Path, until: Run, uid: str
) -> None:
    on_host("apply", "-f", "-", stdin=stream(camera(uid)))
    changed = camera(uid, displayName="Yard")
    changed["spec"]["uid"] = "95270001000000ZZ"
    done = on_host("apply", "-f", "-", stdin=stream(server(), changed), expect=1)
    assert done.stderr.startswith("standard input: document 2 (Camera")
    assert "uid cannot be changed" in done.stderr
    assert json.loads(on_host("get", "rs", "-o", "json").stdout)["items"] == []
    assert on_host("plan", "-f", "-", stdin=stream(changed), expect=1).stderr == done.stderr.replace(
        "document 2", "document 1"
    )
    (tmp_path / "fleet" / "broken.yaml").write_text("kind: [")
    until("doctor names the file", lambda: "broken.yaml" in on_host("doctor", expect=1).stdout)
