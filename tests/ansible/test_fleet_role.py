"""The role rop_fleet through a real ansible-playbook, against a real agent on this host."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SERVER = {
    "apiVersion": "rop.dev/v1alpha1",
    "kind": "RopServer",
    "metadata": {"name": "home"},
    "spec": {
        "host": "rop.example.net",
        "suspend": True,
        "external": {"url": "https://192.0.2.1:1", "interface": "ClientAPI"},
    },
}
CAMERA = {
    "apiVersion": "rop.dev/v1alpha1",
    "kind": "Camera",
    "metadata": {"name": "front-door"},
    "spec": {"serverRef": {"name": "home"}, "uid": "95270001ABCDEFGH", "displayName": "Front door"},
}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """The state directory of a running agent."""
    fleet, state = tmp_path / "fleet", tmp_path / "state"
    fleet.mkdir()
    command = [f"{BIN}/rop-agent", "--dir", str(fleet), "--state", str(state)]
    log = (tmp_path / "agent.log").open("wb")
    with log, subprocess.Popen(command, stdout=log, stderr=log) as agent:
        deadline = time.monotonic() + 30
        while not (state / "agent.sock").exists():
            assert agent.poll() is None and time.monotonic() < deadline, (tmp_path / "agent.log").read_text()
            threading.Event().wait(0.1)
        yield state
        agent.terminate()


def play(state: Path, *documents: dict[str, Any], check: bool = False) -> subprocess.CompletedProcess[str]:
    variables = {
        "rop_fleet_documents": documents,
        "rop_fleet_namespace": "video",
        "rop_fleet_state": str(state),
        "rop_fleet_ropctl": f"{BIN}/ropctl",
        "ansible_python_interpreter": sys.executable,
    }
    command = [
        f"{BIN}/ansible-playbook",
        "playbooks/cameras.yml",
        "-e",
        "rop_hosts=all",
        "-i",
        "localhost,",
        "-c",
        "local",
    ]
    environment = {**os.environ, "ANSIBLE_HOME": str(state.parent / "ansible"), "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(
        [*command, "-e", json.dumps(variables), *(["--check"] if check else [])],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


def names(state: Path) -> list[str]:
    command = [f"{BIN}/ropctl", "--state", str(state), "-n", "video", "get", "cameras", "-o", "json"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return [item["metadata"]["name"] for item in listed["items"]]


def test_documents_reach_the_agent_once(state: Path) -> None:
    checked = play(state, SERVER, CAMERA, check=True)
    assert checked.returncode == 0, checked.stdout
    assert "changed=1" in checked.stdout
    assert names(state) == []

    first = play(state, SERVER, CAMERA)
    assert first.returncode == 0, first.stdout
    assert names(state) == ["front-door"]

    second = play(state, SERVER, CAMERA)
    assert second.returncode == 0, second.stdout
    assert "changed=0" in second.stdout


def test_a_bad_document_fails_and_names_the_field(state: Path) -> None:
    bad = {**CAMERA, "spec": {**CAMERA["spec"], "uid": "nope"}}  # type: ignore[dict-item]
    played = play(state, SERVER, bad)
    assert played.returncode != 0
    assert "spec.uid" in played.stdout
    assert names(state) == []
