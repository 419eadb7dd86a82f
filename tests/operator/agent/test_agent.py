"""rop-agent with a real rop-server and real virtual cameras: from files to devices, through kills and restarts."""

import json
import os
import signal
import socket
import subprocess
from typing import Any

import pytest
import yaml

DOOR = {"uid": "AGENT0DOOR000001", "displayName": "Front door", "provision": {"attempt": 1, "lan": {}}}
CANARY = "canary-8f3a1c"


def test_kills_of_agent_and_server_change_nothing_that_matters(host: Any) -> None:
    host.camera("door", DOOR["uid"])
    host.write(door=DOOR)
    host.start()
    host.reaches("Camera", "door", "Ready")
    assert host.device("door")["deviceName"] == "Front door"
    first = host.server()
    host.kill()
    assert host.server() == first, "the server outlives the agent"
    before = host.status("Camera", "door")
    host.start()
    host.reaches("Camera", "door", "Ready")
    assert host.server() == first
    assert host.status("Camera", "door") == before or not before
    os.kill(first.pid, signal.SIGKILL)
    host.poll("another server runs", lambda: host.server() not in (None, first))
    host.poll("the camera came back", lambda: len(host.happened("door", "online")) >= 2)
    host.reaches("Camera", "door", "Ready")
    host.ctl("door", "set-name", "Mallory")
    host.write(door={**DOOR, "displayName": "Back door"})
    host.poll("renamed", lambda: host.device("door")["deviceName"] == "Back door")
    assert len(host.happened("door", "setup")) == 1
    assert host.stop() == 0
    assert host.server() is not None
    host.start("--stop-servers")
    assert host.stop() == 0
    assert host.server() is None


def test_a_removed_document_revokes_its_camera(host: Any) -> None:
    host.camera("door", DOOR["uid"])
    host.write(door=DOOR)
    host.start("--stop-servers")
    host.reaches("Camera", "door", "Ready")
    host.write()
    host.poll("gone", lambda: host.get("/v1/objects?kind=Camera")["items"] == [])
    host.poll("cut off", lambda: host.happened("door", "refused") or host.happened("door", "offline"))
    host.poll("not counted", lambda: host.status("RopServer", "home")["cameras"]["documented"] == 0)
    (host.fleet / "all.yaml").unlink()
    host.poll("noticed", lambda: host.get("/v1/health")["source"] == "Missing")
    assert host.server() is not None, "nothing is stopped while the files are away"


def test_a_port_in_use_is_named_and_recovered_from(host: Any) -> None:
    taken = socket.socket()
    taken.bind(("0.0.0.0", host.ports["signalingTLS"]))
    taken.listen()
    host.write()
    host.start("--stop-servers")
    found = host.reaches("RopServer", "home", "Serving", "False", "RuntimeFailed")
    assert "signalingTLS" in found["message"]
    assert str(host.ports["signalingTLS"]) in found["message"]
    taken.close()
    host.reaches("RopServer", "home", "Ready")


def test_ports_of_a_server_that_never_ran_can_be_changed(host: Any) -> None:
    taken = socket.socket()
    taken.bind(("0.0.0.0", host.ports["clientHttp"]))
    taken.listen()
    host.write()
    host.start("--stop-servers")
    host.reaches("RopServer", "home", "Serving", "False", "RuntimeFailed")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        host.ports["clientHttp"] = sock.getsockname()[1]
    host.write()
    host.reaches("RopServer", "home", "Ready")
    taken.close()


def test_secrets_reach_the_server_and_nothing_else(host: Any) -> None:
    folder = host.secrets / "video" / "alarm"
    server = host.server_document(alarms={"sinks": [{"name": "ops", "urlRef": {"name": "alarm", "key": "url"}}]})
    (host.fleet / "server.yaml").write_text(yaml.safe_dump(server))
    host.start("--stop-servers")
    host.reaches("RopServer", "home", "Accepted", "False", "SecretNotFound")
    folder.mkdir(parents=True)
    value = folder / ".new"
    value.write_text(f"https://hook.example/{CANARY}\n")
    value.chmod(0o600)
    value.rename(folder / "url")
    host.reaches("RopServer", "home", "Ready")
    config = host.state / "servers" / "video" / "home" / "config.json"
    host.poll("written", lambda: CANARY in config.read_text())
    assert config.stat().st_mode & 0o077 == 0
    host.stop()
    for path in host.folder.rglob("*"):
        if path.is_file() and path not in (config, folder / "url") and not path.is_socket():
            assert CANARY.encode() not in path.read_bytes(), path


def test_one_agent_per_state_directory(host: Any) -> None:
    host.write()
    host.start("--stop-servers")
    second = subprocess.run(host.command(), capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 75
    assert f"pid {host.agent.pid}" in second.stdout
    assert host.get("/v1/health") is not None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--dir", "{f}"], 64, "--state"),
        (["--dir", "{f}", "--state", "{f}/s", "--secrets", "{f}/secrets"], 78, "below the documents"),
        (["--dir", "{f}", "--state", "/proc/nothing"], 78, "/proc/nothing"),
        (["--dir", "{f}", "--state", "{f}-state", "--lan-cidrs", "not-a-network"], 78, "not-a-network"),
    ],
)
def test_usage_errors_are_clear(host: Any, arguments: list[str], code: int, said: str) -> None:
    command = [host.command()[0], *(a.replace("{f}", str(host.fleet)) for a in arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == code, run.stdout + run.stderr
    assert said in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


def test_key_rotations_from_files_move_a_battery_camera_and_end(host: Any) -> None:
    host.camera("door", DOOR["uid"], "--battery")
    host.write(door=DOOR)
    host.start("--stop-servers")
    host.reaches("Camera", "door", "Ready")
    config = host.state / "servers" / "video" / "home" / "config.json"
    before = json.loads(config.read_text())
    told = {"serverRef": {"name": "home"}, "toGeneration": 2}
    device_key = host.document("KeyRotation", "device-key-2", item="DeviceKey", **told)
    sign_key = host.document("KeyRotation", "sign-key-2", item="SignKey", **told)
    leaf = host.document("KeyRotation", "leaf-2", item="ServerCertificate", **told)
    issuer = host.document("KeyRotation", "issuer-2", item="Intermediate", **told)
    (host.fleet / "rotations.yaml").write_text(yaml.safe_dump_all([device_key, sign_key, leaf, issuer]))
    host.reaches("KeyRotation", "device-key-2", "Complete")
    host.reaches("KeyRotation", "leaf-2", "Complete")
    host.reaches("KeyRotation", "issuer-2", "Progressing", "True", "Rolling")
    host.reaches("KeyRotation", "sign-key-2", "Progressing", "True", "Rolling")
    phases = [phase["name"] for phase in host.status("KeyRotation", "device-key-2")["phases"]]
    assert phases[-1] in ("Retired", "Complete")
    after = json.loads(config.read_text())
    assert after["deviceAuth"]["currentKeyIndex"] != before["deviceAuth"]["currentKeyIndex"]
    assert after["authCode"]["signKey"] != before["authCode"]["signKey"]
    server = host.server_document()
    for value in ("SignKey:1", "Intermediate:1"):
        server["spec"]["acknowledge"].append({"edge": "RetireKey", "value": value})
    host.reaches("Camera", "door", "Ready")
    (host.fleet / "all.yaml").write_text(
        yaml.safe_dump_all([server, host.document("Camera", "door", serverRef={"name": "home"}, **DOOR)])
    )
    host.reaches("KeyRotation", "sign-key-2", "Complete")
    host.reaches("KeyRotation", "issuer-2", "Complete")
    host.reaches("Camera", "door", "Ready")
    assert len(host.happened("door", "setup")) == 1
