"""`rop-drill run`: a real archive, the real server as a program, cameras that use it."""

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rop_drill.reasons import Reason
from rop_drill.scratch import SHARED_MEMORY

STEPS = [
    *(
        "Fetching",
        "Isolating",
        "Restoring",
        "Judging",
        "Stripping",
        "Starting",
        "Trusting",
        "Renewing",
        "Registering",
    ),
    *("Connecting", "Commanding", "Streaming", "Alarming", "Enrolling", "Refusing"),
]
SCRATCH = SHARED_MEMORY / f"rop-drill-{os.getuid()}"


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def passed(site: Any, rop_drill: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One good drill; its reports are in `folder`."""
    folder = tmp_path_factory.mktemp("reports") / "new"
    before = digests(site.away) | digests(site.shelf) | digests(site.camera)
    ran = rop_drill("run", *site.words("--max-age", "25h", "--report", str(folder), "-o", "json"))
    assert ran.status == 0, ran.out + ran.err
    assert digests(site.away) | digests(site.shelf) | digests(site.camera) == before
    return ran, folder


def test_every_step_passes_without_the_data_directory(passed: Any) -> None:
    ran, _ = passed
    report = ran.document["report"]
    assert [step["name"] for step in report["steps"]] == STEPS
    assert all(step["passed"] for step in report["steps"])
    assert (report["result"], report["reason"]) == ("Passed", None)
    assert [line for line in ran.err.splitlines() if line.startswith("step: ")] == [f"step: {s}" for s in STEPS]


def test_recovery_time_and_age_of_the_data_are_measured(passed: Any) -> None:
    report = passed[0].document["report"]
    until_online = sum(step["seconds"] for step in report["steps"][: STEPS.index("Connecting") + 1])
    whole = sum(step["seconds"] for step in report["steps"])
    assert until_online <= report["rtoSeconds"] + 0.1
    assert report["rtoSeconds"] < whole + 10
    assert report["rpoSeconds"] >= 0


def test_the_scheduled_identity_does_not_open_the_roots_key(passed: Any) -> None:
    report = passed[0].document["report"]
    assert report["rootKeyOpened"] is False
    assert report["deniedDevices"] == 1
    assert report["storage"]["fileSystem"] in ("tmpfs", "ramfs")


def test_the_report_is_signed_and_readable(passed: Any, site: Any, rop_drill: Any) -> None:
    _, folder = passed
    (path,) = folder.glob("*.json")
    page = path.with_suffix(".html").read_text()
    assert "<h1>Recovery drill: Passed</h1>" in page
    signer = site.known.site_signer
    assert rop_drill("verify", str(path), "--expect-signer", signer).status == 0
    assert rop_drill("verify", str(path), "--expect-signer", "0" * len(signer)).status == 65
    told = json.loads(path.read_bytes())
    told["report"]["rpoSeconds"] = 0
    forged = path.with_name("forged")
    forged.write_text(json.dumps(told))
    assert rop_drill("verify", str(forged), "--expect-signer", signer).status == 65
    (listed,) = rop_drill("list", str(folder), "-o", "json").document
    assert (listed["path"], listed["result"]) == (str(path), "Passed")


def test_no_secret_is_told(passed: Any, site: Any) -> None:
    ran, folder = passed
    known = site.known
    config = json.loads((site.away / "config.json").read_bytes())
    secrets = [known.code, config["authCode"]["signKey"], site.identity.read_text().strip()]
    secrets += [line for line in known.key_pem.splitlines() if not line.startswith("-----")]
    told = ran.out + ran.err + "".join(path.read_text() for path in folder.iterdir())
    assert [secret for secret in secrets if secret in told] == []


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("--max-age", "1s"), Reason.ARCHIVE_STALE.code),
        (("--timeout", "1s"), Reason.TIMED_OUT.code),
        (("--expect-root", "0" * 64), Reason.FOREIGN_ROOT.code),
    ],
)
def test_a_red_drill_tells_why_and_keeps_its_report(
    site: Any, rop_drill: Any, tmp_path: Path, words: tuple[str, ...], status: int
) -> None:
    ran = rop_drill("run", *site.words(*words, "--report", str(tmp_path)))
    assert ran.status == status, ran.out + ran.err
    (path,) = tmp_path.glob("*.json")
    reason = next(each.text for each in Reason if each.code == status)
    assert json.loads(path.read_bytes())["report"]["reason"] == reason
    assert f"result       Failed: {reason}" in ran.out


def test_archive_and_identity_can_be_streamed(site: Any, rop_drill: Any) -> None:
    camera = ("--camera", str(site.camera))
    archive = ("--archive", str(site.archive))
    spoiled = site.archive.read_bytes()[:-1]
    ran = rop_drill("run", "--archive", "-", "--identity", str(site.identity), *camera, given=spoiled)
    assert ran.status == Reason.READ_BACK.code
    nobody = rop_drill("run", *archive, "--identity", "-", *camera, given=b"")
    assert nobody.status == Reason.DECRYPT_FAILED.code
    both = rop_drill("run", "--archive", "-", "--identity", "-", *camera)
    assert both.status == 64
    assert "standard input" in both.err


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda raw: raw | {"uid": "95270001AAAAAAAA"}, "camera.json.uid"),
        (lambda raw: raw | {"warrant": "00"}, "enrol the drill camera again"),
        (lambda raw: {name: raw[name] for name in raw if name != "keyPEM"}, "camera.json.keyPEM"),
        (lambda raw: raw | {"formatVersion": 2}, "camera.json.formatVersion"),
    ],
)
def test_a_drill_camera_that_is_not_whole_is_named(
    site: Any, rop_drill: Any, tmp_path: Path, spoil: Any, text: str
) -> None:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(spoil(json.loads((site.camera / "camera.json").read_bytes()))))
    words = ["--from", str(site.shelf), "--identity", str(site.identity), "--camera", str(path)]
    ran = rop_drill("run", *words)
    assert ran.status == Reason.CAMERA_INVALID.code
    assert text in ran.err


def begin(site: Any) -> subprocess.Popen[str]:
    """A drill whose server runs."""
    command = [sys.executable, "-m", "rop_drill", "run", *site.words()]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line == "step: Trusting\n":
            return process
    raise AssertionError(f"the drill ended: {process.wait()}")


def folder_of(process: subprocess.Popen[str]) -> Path:
    """The scratch folder a drill holds; other drills may run at the same time."""
    held = {each.readlink() for each in Path(f"/proc/{process.pid}/fd").iterdir()}
    (own,) = [each for each in held if each.parent == SCRATCH]
    assert own.exists()
    return own


def servers() -> dict[int, bytes]:
    """Processes that serve a scratch folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if entry.name.isdecimal() and b"rop_server" in command and bytes(SCRATCH) in command:
            found[int(entry.name)] = command
    return found


def ended(pid: int) -> bool:
    """Whether a process ends."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([descriptor], [], [], 60)
        return bool(ready)
    finally:
        os.close(descriptor)


def test_a_stopped_drill_is_red_and_leaves_nothing(site: Any) -> None:
    process = begin(site)
    own = folder_of(process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate()
    assert process.returncode == Reason.INTERRUPTED.code, out
    assert not own.exists()
    assert [command for command in servers().values() if bytes(own) in command] == []


def test_what_a_killed_drill_leaves_the_next_one_removes(site: Any, rop_drill: Any, tmp_path: Path) -> None:
    process = begin(site)
    own = folder_of(process)
    process.kill()
    process.communicate()
    empty = tmp_path / "empty"
    empty.mkdir()
    words = ["--from", str(empty), "--identity", str(site.identity), "--camera", str(site.camera)]
    assert rop_drill("run", *words).status == Reason.BACKUP_MISSING.code
    assert not own.exists()
    # The server ends with its standard input, or by the sweep.
    for pid, command in servers().items():
        if bytes(own) in command:
            assert ended(pid)
