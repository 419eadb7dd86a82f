"""A site that burned down comes back from an archive: its cameras go on without a visit."""

import asyncio
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest

from rop_sim.identity import IdentityStore
from rop_sim.provision import SetupError, renew

BIN = Path(sys.executable).parent
WIRED, BATTERY, DENIED, LATER = "RESTOREWIRED0001", "RESTOREBATTERY01", "RESTOREDENIED001", "RESTORELATER0001"
Join = Callable[..., Any]


def run(*words: object, stdin: bytes | None = None, expect: int = 0) -> str:
    done = subprocess.run([f"{BIN}/rop-server", *map(str, words)], input=stdin, capture_output=True, check=False)
    assert done.returncode == expect, done.stderr.decode()
    return done.stdout.decode() + done.stderr.decode()


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Identities `NAME.txt`, one under a passphrase as `age -p` makes it, and `recipients`."""
    folder = tmp_path / "people"
    folder.mkdir()
    lines = []
    for name, scope in (("alice", "All"), ("bob", "All"), ("drill", "WithoutRootKey")):
        key = pyrage.x25519.Identity.generate()
        (folder / f"{name}.txt").write_text(f"# created: today\n{key}\n")
        lines.append(f"{name} {scope} {key.to_public()}\n")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "carol"], check=True)
    lines.append(f"carol All {(folder / 'carol.pub').read_text()}")
    (folder / "recipients").write_text("".join(lines))
    locked = pyrage.passphrase.encrypt((folder / "alice.txt").read_bytes(), "correct horse")
    (folder / "alice.age").write_bytes(locked)
    (folder / "shelf").mkdir()
    return folder


def archive(data: Path, people: Path) -> dict[str, Any]:
    words = ("--to", people / "shelf", "--recipients", people / "recipients", "-o", "json")
    made: dict[str, Any] = json.loads(run("archive", "create", "--data", data, *words))
    return made


def expected(made: dict[str, Any]) -> tuple[str, ...]:
    return ("--expect-signer", made["signer"], "--expect-root", made["rootSHA256"])


def test_cameras_go_on_at_the_restored_server(site: Any, joined: Join, add_camera: Join, people: Path, poll: Any):
    camera, sleeper, denied = joined(WIRED), joined(BATTERY, "--battery"), joined(DENIED)
    _, manager = site.manage("PUT", "/manager", {"id": "contract", "takeOver": True})
    path = f"/devices/{DENIED}/access?fence={manager['fence']}"
    status, answer = site.manage("PUT", path, {"access": "Denied"}, Rop_Manager="contract")
    assert status == 200, answer
    made = archive(site.data, people)
    assert site.process.stop() == 0
    shutil.rmtree(site.data)
    before = {each.uid: each.identity()["code"] for each in (camera, sleeper, denied)}

    place = site.data.with_name("elsewhere")
    run("restore", made["path"], "--data", place, "--identity", people / "bob.txt", *expected(made))
    site.process.command[2] = str(place)
    site.data = place
    site.start()

    for each in (camera, sleeper):
        known = len(each.events("setup"))
        poll(f"{each.uid} is online again", lambda uid=each.uid: site.online(uid))
        assert known == len(each.events("setup")) == 1
    store = IdentityStore(camera.folder / "identity")
    renewed = asyncio.run(renew(store.load(), WIRED))
    assert renewed.cert != store.load().cert
    assert before[WIRED] == camera.identity()["code"]
    with pytest.raises(SetupError):
        asyncio.run(renew(IdentityStore(denied.folder / "identity").load(), DENIED))
    assert site.online(DENIED) is None

    later = add_camera(LATER)
    assert later.set_up(site.session(LATER)) == (200, {"message": "ok"})
    poll("a new camera is online", lambda: site.online(LATER))
    name = f"/v1.0/devices/{WIRED}/settings/general-config"
    assert site.call("PUT", name, {"deviceName": "After the fire"})[0] == 200
    assert camera.settings()["deviceName"] == "After the fire"


def test_commands_and_their_exit_codes(site: Any, people: Path, tmp_path: Path):
    made = archive(site.data, people)
    path, told = Path(made["path"]), expected(made)
    assert path.name in run("archive", "list", people / "shelf")
    assert '"rootKey": true' in run("archive", "verify", path, "--identity", people / "carol", *told, "-o", "json")
    assert '"rootKey": false' in run(
        "archive", "verify", path, "--identity", people / "drill.txt", *told, "-o", "json"
    )
    sheet = run("archive", "sheet", path)
    assert made["signer"] in sheet
    assert made["rootSHA256"] in sheet
    assert sheet.count("<svg") == 2
    assert "http://" not in sheet.replace("http://www.w3.org/2000/svg", "")

    target = tmp_path / "new"
    assert "FOREIGN" not in run("restore", path, "--data", target, "--identity", "-", stdin=b"x", expect=65)
    secret = (people / "alice.txt").read_bytes()
    assert made["signer"] in run("restore", path, "--data", target, "--identity", "-", stdin=secret, expect=65)
    run("restore", path, "--data", site.data, "--identity", "-", *told, stdin=secret, expect=73)
    assert not target.exists()
    run("restore", path, "--data", target, "--identity", "-", *told, stdin=secret)
    assert (target / "config.json").read_bytes() == (site.data / "config.json").read_bytes()

    lonely = people / "lonely"
    lonely.write_text((people / "recipients").read_text().splitlines()[0])
    words = ("archive", "create", "--data", site.data, "--to", people / "shelf", "--recipients", lonely)
    assert "--single-recipient" in run(*words, expect=64)
    assert run("archive", "prune", people / "shelf", "--keep-last", "1", "--keep-days", "0") == ""
    path.write_bytes(b"")
    assert "Damaged" in run("archive", "list", people / "shelf", expect=65)
    assert "Damaged" in run("archive", "verify", path, expect=65)


def test_a_passphrase_comes_from_the_terminal(site: Any, people: Path, tmp_path: Path):
    made = archive(site.data, people)
    words = [
        "restore",
        made["path"],
        "--data",
        tmp_path / "new",
        "--identity",
        people / "alice.age",
        *expected(made),
    ]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(f"{BIN}/rop-server", ["rop-server", *map(str, words)])
    shown = b""
    while b"Passphrase" not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, b"correct horse\n")
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"correct horse" not in shown
    assert (tmp_path / "new" / "config.json").is_file()
