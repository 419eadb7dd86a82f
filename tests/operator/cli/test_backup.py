"""`ropctl backup` with a real agent and server: made, listed, read back, brought here, pruned, restored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import yaml

from free_ports import free_ports

Run = Callable[..., Any]
PORTS = (
    *("getCAHttps", "getCertHttps", "registerHttps", "keepAliveTCP", "signalingTLS"),
    *("streamTLS", "streamTCP", "clientRtsp", "clientHttp"),
)


def home(shelf: Path, *people: pyrage.x25519.Identity) -> str:
    spec = {
        "host": "127.0.0.1",
        "ports": dict(zip(PORTS, free_ports(len(PORTS)), strict=True)),
        "backup": {
            "recipients": [{"name": f"p{n}", "key": str(each.to_public())} for n, each in enumerate(people)],
            "targets": [{"name": "disk", "directory": {"path": str(shelf)}}],
            "retention": {"keepLast": 1, "keepDays": 0},
        },
    }
    return yaml.safe_dump(
        {"apiVersion": "rop.dev/v1alpha1", "kind": "RopServer", "metadata": {"name": "home"}, "spec": spec}
    )


def test_from_the_first_archive_to_a_restore(on_host: Run, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    alice, bob = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    on_host("apply", "--wait", "-f", "-", stdin=home(shelf, alice, bob))
    state = on_host("backup", "status").stdout
    assert "disk" in state
    assert state.endswith("the present keys are in a verified archive\n")

    made = on_host("backup", "create", "--keep-forever")
    name = made.stdout.strip()
    assert (shelf / name).is_file()
    assert made.stderr == "disk: Stored\n"
    listed = json.loads(on_host("backup", "list", "-o", "json").stdout)["items"]
    assert {each["name"] for each in listed} == {path.name for path in shelf.iterdir()}
    assert on_host("backup", "verify", name).stdout == f"{name}: Stored, generation 1\n"
    assert on_host("backup", "prune", "--dry-run").stdout == ""

    copy = tmp_path / "copy.rop"
    on_host("backup", "export", name, "--to", str(copy))
    assert copy.read_bytes() == (shelf / name).read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o600
    assert "exists already" in on_host("backup", "export", name, "--to", str(copy), expect=1).stderr
    page = on_host("backup", "sheet").stdout
    (tmp_path / "key.txt").write_text(str(alice))
    header = json.loads(on_host("backup", "status", "-o", "json").stdout)
    root = json.loads(on_host("pki", "status", "-o", "json").stdout)["root"]["sha256"]
    assert header["signer"] in page
    assert root in page
    assert str(shelf) in page
    assert str(alice) not in page

    expected = ("--expect-signer", header["signer"], "--expect-root", root)
    target = ("--data", str(tmp_path / "back"), "--identity", str(tmp_path / "key.txt"))
    on_host("restore", str(copy), *target, *expected)
    assert (tmp_path / "back/certs/ECC/Root/key.pem").is_file()
    assert "not empty" in on_host("restore", str(copy), *target, *expected, expect=73).stderr


def test_what_cannot_be_done_is_said_and_changes_nothing(on_host: Run, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    people = [pyrage.x25519.Identity.generate() for _ in range(2)]
    on_host("apply", "--wait", "-f", "-", stdin=home(shelf, *people))
    before = sorted(path.name for path in shelf.iterdir())
    assert "TargetUnknown" in on_host("backup", "create", "--target", "tape", expect=1).stderr
    assert "ArchiveUnknown" in on_host("backup", "verify", "x.rop", expect=1).stderr
    assert "--credentials" in on_host("backup", "prune", "--credentials", "-", stdin="{", expect=64).stderr
    nowhere = str(tmp_path / "no" / "copy.rop")
    assert "NotWritable" in on_host("backup", "export", before[0], "--to", nowhere, expect=1).stderr
    (shelf / before[0]).write_bytes(b"")
    assert "Damaged" in on_host("backup", "verify", before[0], expect=1).stderr
    assert sorted(path.name for path in shelf.iterdir()) == before
