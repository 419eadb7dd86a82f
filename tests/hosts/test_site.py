"""`playbooks/site.yml` on a blank host: a check changes nothing, a run makes a site, a second changes nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ANSIBLE = Path(sys.executable).with_name("ansible-playbook")
RECAP = re.compile(r"^site +: (.*)$", re.MULTILINE)
Play = Callable[..., "tuple[dict[str, int], str]"]


@pytest.fixture(scope="module")
def blank(lab: Any, machine_of: Callable[[str], Any]) -> Any:
    """A host with nothing of ours."""
    lab.up({"site": "trixie"})
    return machine_of("site")


@pytest.fixture(scope="module")
def play(blank: Any, packages: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Runs the playbook; the numbers of its recap and what it said."""
    folder = tmp_path_factory.mktemp("inventory")
    key = blank.lab.cache / "id"
    ssh = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes"
    camera = {"serverRef": {"name": "home"}, "uid": blank.uid, "provision": {"attempt": 1, "lan": {}}}
    variables: Mapping[str, Any] = {
        "ansible_host": blank.address,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": ssh,
        "rop_packages_folder": str(packages[blank.suite][0].parents[1]),
        "rop_server_namespace": "video",
        "rop_server_spec": {"host": blank.address, "acknowledge": [{"edge": "NoBackup", "value": "home"}]},
        "rop_agent_secrets": [{"name": "wifi", "key": "psk", "value": "c4n4ry-value", "namespace": "video"}],
        "rop_fleet_namespace": "video",
        "rop_fleet_documents": [
            {"apiVersion": "rop.dev/v1alpha1", "kind": "Camera", "metadata": {"name": "door"}, "spec": camera}
        ],
    }
    inventory = folder / "hosts.json"
    inventory.write_text(json.dumps({"rop": {"hosts": {"site": variables}}}))

    def run(*options: str, rc: int = 0) -> tuple[dict[str, int], str]:
        command = blank.lab.inside(ANSIBLE, "-i", inventory, ROOT / "playbooks/site.yml", *options)
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "HOME": str(folder)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == rc, said[-6000:]
        assert "c4n4ry-value" not in said
        found = RECAP.search(said)
        assert found is not None, said[-3000:]
        numbers = {name: int(value) for name, value in (word.split("=") for word in found[1].split())}
        return numbers, said

    return run


@pytest.fixture(scope="module")
def site(blank: Any, play: Play, gate: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """The site that the first run made, with a camera beside it; the run's recap."""
    folder = tmp_path_factory.mktemp("camera")
    program = [str(Path(sys.executable).with_name("ropsim")), "camera", "--state", str(folder / "state")]
    where = ["--uid", blank.uid, "--setup-address", gate, "--strict"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(blank.lab.inside(*program, *where), stdout=log, stderr=log)
        try:
            yield play()[0]
        finally:
            running.terminate()
            running.wait()


def test_a_check_of_a_blank_host_shows_all_and_changes_nothing(blank: Any, play: Play) -> None:
    before = blank.run("dpkg-query -W; find /etc /usr/bin /var/lib -newer /etc/hostname -type f | sort")
    recap, said = play("--check", "--diff")
    assert (recap["failed"], recap["unreachable"]) == (0, 0)
    assert recap["changed"] > 0
    for what in ("would be installed:", "rop-server", "ROP_AGENT_OPTIONS=", "rop-agent.service", blank.uid):
        assert what in said, what
    after = blank.run("dpkg-query -W; find /etc /usr/bin /var/lib -newer /etc/hostname -type f | sort")
    assert after == before


def test_one_run_makes_a_site_with_its_camera(blank: Any, site: dict[str, int]) -> None:
    assert (site["failed"], site["unreachable"]) == (0, 0)
    assert site["changed"] > 0
    assert blank.active()
    blank.until(blank.online, 120, "the camera is online")
    assert blank.run("cat /etc/rop/secrets/video/wifi/psk") == "c4n4ry-value"
    assert blank.run("stat -c %a:%U /etc/rop/secrets/video/wifi/psk").strip() == "600:rop"


def test_a_second_run_and_a_check_change_nothing(site: dict[str, int], play: Play) -> None:
    assert site["failed"] == 0
    for options in ((), ("--check", "--diff")):
        recap, said = play(*options)
        assert (recap["changed"], recap["failed"]) == (0, 0), said[-3000:]


def test_a_wrong_variable_is_named_and_the_site_goes_on(blank: Any, site: dict[str, int], play: Play) -> None:
    assert site["failed"] == 0
    _, said = play("-e", "rop_sever_spec=x", rc=2)
    assert "rop_sever_spec: no role of this play has such a variable" in said
    assert blank.active()
    assert blank.online()
