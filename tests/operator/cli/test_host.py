"""`ropctl` with a real agent: files, server, virtual camera, and the same answers as from a cluster."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from free_ports import free_ports

BIN = Path(sys.executable).parent
LOOPBACK_BROADCAST = "127.255.255.255"
UID = "9527000100000001"
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


def poll(what: str, read: Callable[[], Any], patience: float = 40.0) -> None:
    deadline = time.monotonic() + patience
    while not read():
        assert time.monotonic() < deadline, f"never happened: {what}"
        threading.Event().wait(0.1)


def spawn(log: Path, *command: str) -> "subprocess.Popen[bytes]":
    with log.open("ab") as out:
        return subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


NO_BACKUP = [{"edge": "NoBackup", "value": "home"}]


def server(**spec: Any) -> dict[str, Any]:
    ports = dict(zip(PORT_MEMBERS, free_ports(len(PORT_MEMBERS)), strict=True))
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "RopServer",
        "metadata": {"name": "home"},
        "spec": {"host": "127.0.0.1", "ports": ports, "acknowledge": NO_BACKUP, **spec},
    }


def camera(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "Camera",
        "metadata": {"name": "front-door"},
        "spec": {"serverRef": {"name": "home"}, "uid": UID, **spec},
    }


@pytest.fixture
def discovery() -> list[str]:
    """Flags by which ropctl and agent find virtual cameras."""
    (port,) = free_ports(1, socket.SOCK_DGRAM)
    return ["--allow-loopback", "--discovery-address", LOOPBACK_BROADCAST, "--discovery-port", str(port)]


@pytest.fixture
def on_host(ropctl: Run, tmp_path: Path, discovery: list[str]) -> Iterator[Run]:
    """`ropctl` with an agent of its own; a virtual camera that waits for its set-up is on the LAN."""
    fleet, state = tmp_path / "fleet", tmp_path / "state"
    fleet.mkdir()
    (fleet / "README.yaml").write_text("# documents go here\n")
    camera_flags = (
        "--state",
        str(tmp_path / "front-door"),
        "--uid",
        UID,
        "--setup-port",
        "0",
        "--reconnect-min",
        "0.2",
    )
    processes = [
        spawn(
            tmp_path / "agent.log",
            "rop-agent",
            *("--dir", str(fleet), "--state", str(state), "--stop-servers", "--lan-cidrs", "127.0.0.0/8"),
            *discovery,
        ),
        spawn(tmp_path / "camera.log", "ropsim", "camera", *camera_flags, *discovery[1:]),
    ]

    def run(*args: str, stdin: str | None = None, expect: int | None = 0) -> Any:
        return ropctl("--state", str(state), "-n", "video", *args, stdin=stdin, expect=expect)

    try:
        poll("the agent listens", (state / "agent.sock").exists)
        poll("the camera listens", (tmp_path / "front-door" / "ready.json").exists)
        yield run
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def stream(*documents: dict[str, Any]) -> str:
    text: str = yaml.safe_dump_all(documents)
    return text


def test_a_camera_from_yaml_to_the_wire(on_host: Run, discovery: list[str], tmp_path: Path) -> None:
    home = server()
    documents = stream(home, camera(displayName="Front door"))
    planned = on_host("plan", "-f", "-", stdin=documents, expect=2).stdout
    assert "RopServer/video/home: created" in planned
    assert "start the server" in planned
    done = on_host("apply", "--wait", "--timeout", "1", "-f", "-", stdin=documents, expect=1)
    assert done.stdout.splitlines() == ["ropserver.rop.dev/home created", "camera.rop.dev/front-door created"]
    assert "camera.rop.dev/front-door is not Ready after 1 s" in done.stderr

    found = json.loads(on_host("discover", "--seconds", "1", *discovery, "-o", "json").stdout)["items"]
    assert [(row["uid"], row["camera"]) for row in found] == [(UID, "video/front-door")]
    assert json.loads(on_host("discover", "--from-host", "-o", "json").stdout)["items"] == found
    poll("the server is up", lambda: on_host("qr", "front-door", "--once", expect=None).returncode == 0)
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
    assert row.split()[:4] == ["front-door", UID, "home", "Online"]
    assert "Ready=True" in on_host("describe", "camera", "front-door").stdout
    assert "REASON" in on_host("events").stdout

    on_host("delete", "camera", "front-door")
    assert "there is no Camera front-door" in on_host("get", "camera", "front-door", expect=1).stderr
    assert "DeleteServer" in on_host("delete", "ropserver", "home", expect=1).stderr


def test_what_breaks_a_rule_changes_nothing_and_is_named(on_host: Run, tmp_path: Path) -> None:
    on_host("apply", "-f", "-", stdin=stream(camera()))
    changed = camera(displayName="Yard")
    changed["spec"]["uid"] = "95270001000000ZZ"
    done = on_host("apply", "-f", "-", stdin=stream(server(), changed), expect=1)
    assert done.stderr.startswith("standard input: document 2 (Camera")
    assert "uid cannot be changed" in done.stderr
    assert json.loads(on_host("get", "rs", "-o", "json").stdout)["items"] == []
    assert on_host("plan", "-f", "-", stdin=stream(changed), expect=1).stderr == done.stderr.replace(
        "document 2", "document 1"
    )
    (tmp_path / "fleet" / "broken.yaml").write_text("kind: [")
    poll("doctor names the file", lambda: "broken.yaml" in on_host("doctor", expect=1).stdout)
