"""The collection: linted, documented, built; wrong variables are refused before anything is touched."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PLAYBOOKS = sorted(path.name for path in (ROOT / "playbooks").glob("*.yml"))
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def run(*command: str, home: Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANSIBLE_HOME": str(home / "ansible"), "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=170
    )


@pytest.mark.timeout(600)
def test_ansible_lint_finds_nothing_in_its_strictest_profile() -> None:
    linted = subprocess.run([ROOT / "tools" / "ansible_lint.sh"], capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "profile: production" in (ROOT / ".ansible-lint.yml").read_text()
    skips = {"skip_list", "warn_list"} & set(yaml.safe_load((ROOT / ".ansible-lint.yml").read_text()))
    assert not skips


def test_every_role_has_the_one_shape_and_its_page() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "tools" / "ansible_docs.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_playbooks_are_sound(playbook: str, tmp_path: Path) -> None:
    inventory = ROOT / "examples" / "ansible" / "one-host" / "hosts.yml"
    checked = run(
        f"{BIN}/ansible-playbook", "--syntax-check", "-i", str(inventory), f"playbooks/{playbook}", home=tmp_path
    )
    assert checked.returncode == 0, checked.stderr


def test_the_collection_builds_with_every_role_and_playbook(tmp_path: Path) -> None:
    built = run(
        f"{BIN}/ansible-galaxy", "collection", "build", "--output-path", str(tmp_path), str(ROOT), home=tmp_path
    )
    assert built.returncode == 0, built.stderr
    (archive,) = tmp_path.glob("rop-operator-*.tar.gz")
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
    assert {f"playbooks/{name}" for name in PLAYBOOKS} <= names
    assert {f"roles/{name}/meta/argument_specs.yml" for name in ROLES} <= names
    assert not any(name.startswith(("server/", "operator/", "tests/", ".venv/")) for name in names)


def site(tmp_path: Path, **variables: Any) -> subprocess.CompletedProcess[str]:
    """site.yml in check mode on this machine: what is refused is refused before it is looked at."""
    given = {
        "rop_hosts": "all",
        "ansible_python_interpreter": sys.executable,
        "rop_server_spec": {"host": "localhost"},
        **variables,
    }
    command = [f"{BIN}/ansible-playbook", "--check", "-i", "localhost,", "-c", "local", "playbooks/site.yml"]
    return run(*command, "-e", json.dumps(given), home=tmp_path)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"rop_server_spce": {}}, "rop_server_spce"),
        ({"rop_server_spec": "home"}, "rop_server_spec"),
        ({"rop_server_spec": {"enrolment": {}}}, "rop_server_spec.host is missing"),
        ({"rop_server_wait_for": "Happiness"}, "rop_server_wait_for"),
        ({"rop_fleet_files": "cameras.yaml", "rop_fleet_documents": 1}, "rop_fleet_documents"),
        ({"rop_agent_lan_cidrs": 7, "rop_agent_secrets": "x"}, "rop_agent_secrets"),
    ],
)
def test_a_wrong_variable_is_named_before_anything_is_done(
    tmp_path: Path, variables: dict[str, Any], named: str
) -> None:
    played = site(tmp_path, **variables)
    assert played.returncode != 0
    assert named in played.stdout + played.stderr
    assert "changed=0" in played.stdout
    assert "rop_packages :" not in played.stdout, "no other role began"
