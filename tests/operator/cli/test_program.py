"""The program without a host or a cluster: usage, exit codes, files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
GOOD = """\
apiVersion: rop.dev/v1alpha1
kind: Camera
metadata: {name: front-door}
spec: {serverRef: {name: home}, uid: "95270001ABCDEFGH"}
"""
BAD = GOOD.replace("95270001ABCDEFGH", "short").replace("front-door", "yard")
COMMANDS = [
    ("apply",),
    ("get",),
    ("describe",),
    ("delete",),
    ("plan",),
    ("validate",),
    ("events",),
    ("doctor",),
    ("discover",),
    ("provision",),
    ("qr",),
    ("export",),
    ("snapshot",),
    ("play",),
    ("ptz",),
    ("admit",),
    ("alarms", "status"),
    ("alarms", "dead"),
    ("alarms", "replay"),
    ("token", "create"),
    ("token", "list"),
    ("token", "revoke"),
    ("camera", "onboard"),
    ("profile", "preview"),
    ("undelete",),
    ("secret", "set"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_and_exit_codes(ropctl: Run, words: tuple[str, ...]) -> None:
    text = ropctl(*words, "--help").stdout
    assert f"ropctl {words[0]}" in text or "ropctl -n video secret set" in text
    assert "Example" in text
    assert "Exit codes" in text


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["get", "bananas"], "known: ropservers ("),
        (["get"], "KIND"),
        (["frobnicate"], "No such command"),
        (["apply"], "--filename"),
        (["--state", "x", "--context", "y", "get", "cam"], "give one of them"),
        (["get", "cam", "x", "-A"], "one namespace"),
        (["get", "rs", "--all"], "get cameras"),
        (["camera", "onboard", "--from", "list.txt", "-y"], ".csv, .yaml"),
        (["delete", "cam"], "Give their names"),
        (["delete"], "give KIND NAME"),
        (["secret", "set", "../x", "key"], "NAME and KEY"),
        (["qr", "ropserver/home"], "is no camera"),
        (["qr"], "give one CAMERA"),
        (["ptz", "gate", "sideways"], "leftUp"),
        (["token", "create", "x", "--verb", "read", "--label", "place"], "KEY=VALUE"),
        (["qr", "--sheet", "--listen", "0.0.0.0"], "loopback"),
    ],
)
def test_usage_errors_exit_64(ropctl: Run, tmp_path: Path, args: list[str], said: str) -> None:
    assert said in ropctl(*args, expect=64).stderr


def test_no_agent_is_said_with_a_remedy(ropctl: Run, tmp_path: Path) -> None:
    done = ropctl("--state", str(tmp_path / "none"), "get", "cameras", expect=1)
    assert "start rop-agent with --state" in done.stderr
    assert done.stdout == ""
    done = ropctl("--kubeconfig", str(tmp_path / "none"), "get", "cameras", expect=1)
    assert "--kubeconfig FILE" in done.stderr
    checks = json.loads(ropctl("--state", str(tmp_path / "none"), "doctor", "-o", "json", expect=1).stdout)
    assert [c["good"] for c in checks["items"]] == [False]


def test_validate_reads_files_directories_and_standard_input(ropctl: Run, tmp_path: Path) -> None:
    (tmp_path / "fleet" / "deep").mkdir(parents=True)
    (tmp_path / "fleet" / "a.yaml").write_text(GOOD)
    (tmp_path / "fleet" / "deep" / "b.yml").write_text(GOOD.replace("front-door", "yard"))
    (tmp_path / "fleet" / ".hidden.yaml").write_text("[")
    (tmp_path / "fleet" / "notes.txt").write_text("[")
    assert "2 documents are valid" in ropctl("validate", "-f", str(tmp_path / "fleet")).stdout
    assert "1 documents are valid" in ropctl("validate", "-f", "-", stdin=GOOD).stdout
    found = json.loads(ropctl("validate", "-n", "video", "-o", "json", "-f", "-", stdin=GOOD).stdout)
    assert found == {"valid": True, "documents": ["Camera/video/front-door"]}


def test_every_error_of_every_file_is_listed(ropctl: Run, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(GOOD + "---\n" + BAD)
    (tmp_path / "two.yaml").write_text(BAD.replace("yard", "gate").replace("home", "Home"))
    done = ropctl("validate", "-f", str(tmp_path), expect=1)
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{tmp_path}/one.yaml: document 2 (Camera/yard): spec.uid: a UID has 16 characters")
    assert {line.split(": ")[2] for line in lines[1:]} == {"spec.uid", "spec.serverRef.name"}
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"a: b: c", "not YAML"),
        (b"kind: Secret\napiVersion: v1\n", "secret"),
        (b"a: 1\na: 2\n", "twice"),
    ],
)
def test_unreadable_files_are_named(ropctl: Run, tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    line = ropctl("validate", "-f", str(path), expect=1).stderr
    assert line.startswith(f"{path}: ")
    assert said in line


def test_missing_files_and_empty_directories_are_named(ropctl: Run, tmp_path: Path) -> None:
    assert "No such file" in ropctl("validate", "-f", str(tmp_path / "none.yaml"), expect=1).stderr
    (tmp_path / "empty").mkdir()
    assert "no .yaml" in ropctl("validate", "-f", str(tmp_path / "empty"), expect=1).stderr


def test_objects_of_other_groups_are_left_alone(ropctl: Run) -> None:
    other = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
    done = ropctl("validate", "-f", "-", stdin=GOOD + other)
    assert "left alone" in done.stderr
    assert "1 documents are valid" in done.stdout


def test_a_host_secret_is_a_private_file(ropctl: Run, tmp_path: Path) -> None:
    where = str(tmp_path / "secrets")
    done = ropctl("-n", "video", "secret", "set", "alarm", "url", "--secrets", where, stdin="https://hook/x\n")
    path = tmp_path / "secrets" / "video" / "alarm" / "url"
    assert path.read_bytes() == b"https://hook/x"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert "hook" not in done.stdout + done.stderr
    ropctl("-n", "video", "secret", "set", "alarm", "url", "--secrets", where, "--raw", stdin="two\n")
    assert path.read_bytes() == b"two\n"
    assert [p.name for p in path.parent.iterdir()] == ["url"]
    assert "empty value" in ropctl("secret", "set", "a", "b", "--secrets", where, expect=1).stderr
