"""Every camera that was ever seen, imported as documents and exported again, on a real host."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from free_ports import free_ports

Run = Callable[..., Any]
PORTS = (
    *("getCAHttps", "getCertHttps", "registerHttps", "keepAliveTCP", "signalingTLS"),
    *("streamTLS", "streamTCP", "clientRtsp", "clientHttp"),
)
ENROLLED = ["KNOWN00000000000", "KNOWN00000000001"]


def document(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "rop.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def site(on_host: Run, spawned: Run, until: Run) -> Iterator[Run]:
    """A server that lets any camera enrol, with two that did and have no Camera."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    demo = [{"edge": "NoBackup", "value": "home"}]
    home = document(
        "RopServer", "home", host="127.0.0.1", ports=ports, enrolment={"policy": "Open"}, acknowledge=demo
    )
    on_host("apply", "--wait", "-f", "-", stdin=yaml.safe_dump(home))
    url = f"http://127.0.0.1:{ports['clientHttp']}"
    fleet: subprocess.Popen[bytes] = spawned(
        "ropsim", "fleet", "--devices", "2", "--prefix", "KNOWN", "--url", url, "--seconds", "0"
    )

    def both_online() -> bool:
        return [row["state"] for row in rows(on_host) if row["uid"] in ENROLLED] == ["Online", "Online"]

    until("two cameras are enrolled", both_online)
    yield on_host
    fleet.send_signal(signal.SIGTERM)


def rows(on_host: Run, *args: str) -> list[dict[str, Any]]:
    told = on_host("get", "cameras", "--all", *args, "-o", "json").stdout
    found: list[dict[str, Any]] = json.loads(told)["items"]
    return found


def test_what_nobody_claimed_is_seen_imported_and_claimed_without_a_write(
    site: Run, tmp_path: Path, until: Run, uid: str
) -> None:
    claimed = [
        document("Camera", "gate", serverRef={"name": "home"}, uid="NEVERSEEN0000000"),
        document("Camera", "hall", serverRef={"name": "home"}, uid=ENROLLED[1]),
    ]
    site("apply", "-f", "-", stdin=yaml.safe_dump_all(claimed))
    until("hall may be revoked", lambda: "revoke" in site("get", "camera", "hall", "-o", "json").stdout)
    site("delete", "camera", "hall")
    seen = {row["uid"]: (row["claim"], row["state"]) for row in rows(site)}
    assert seen == {
        "NEVERSEEN0000000": ("Claimed", "NeverSeen"),
        ENROLLED[0]: ("Enrolled", "Online"),
        ENROLLED[1]: ("Revoked", "Offline"),
        uid: ("Found", "NeverSeen"),
    }
    table = site("get", "cameras", "--all").stdout.splitlines()
    assert table[0].split()[:4] == ["UID", "CLAIM", "CAMERA", "SERVER"]
    assert len(table) == 5

    folder = tmp_path / "imported"
    args = ("discover", "--from-host", "--seconds", "2", "--import", str(folder))
    assert [line.split()[-1] for line in site(*args).stdout.splitlines()] == ["written"] * 3
    assert [line.split()[-1] for line in site(*args).stdout.splitlines()] == ["kept"] * 3
    denied = yaml.safe_load((folder / f"cam-{ENROLLED[1].lower()}.yaml").read_text())
    assert denied["spec"]["access"] == "Denied"
    planned = json.loads(site("plan", "-f", str(folder), "-o", "json", expect=2).stdout)
    assert planned["totals"] == planned["totalsLater"] == {"writes": 0, "wakes": 0, "reboots": 0}
    site("apply", "-f", str(folder))
    until("all are claimed", lambda: [row["claim"] for row in rows(site)] == ["Claimed"] * 4)
    log = (tmp_path / "front-door" / "device.log").read_text()
    assert "setup" not in {json.loads(line)["event"] for line in log.splitlines()}


def test_exported_documents_come_back_as_the_same_bytes(site: Run, tmp_path: Path) -> None:
    camera = document("Camera", "gate", uid="0000000000001234", serverRef={"name": "home"}, displayName="1E5")
    camera["metadata"] |= {"labels": {"place": "yard", "answer": "no"}, "annotations": {"note": "a: b"}}
    site("apply", "-f", "-", stdin=json.dumps(camera))
    first = site("export").stdout
    site("apply", "-f", "-", stdin=first)
    assert site("export").stdout == first
    one, two = tmp_path / "one", tmp_path / "two"
    site("export", "--dir", str(one))
    site("apply", "-f", str(one))
    site("export", "--dir", str(two))
    names = sorted(path.name for path in one.iterdir())
    assert names == ["video.camera.gate.yaml", "video.ropserver.home.yaml"]
    assert [(one / n).read_bytes() for n in names] == [(two / n).read_bytes() for n in names]
    assert "status" not in first
    assert {line.split()[-1] for line in site("export", "--dir", str(one)).stdout.splitlines()} == {"unchanged"}


def test_a_pruned_folder_is_held_and_comes_back(on_host: Run, spawned: Run, until: Run, tmp_path: Path) -> None:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    demo = [{"edge": "NoBackup", "value": "home"}]
    home = document("RopServer", "home", host="127.0.0.1", ports=ports, acknowledge=demo)
    uids = [f"HELD{number:012d}" for number in range(8)]
    cameras = [document("Camera", f"cam-{u[-1]}", serverRef={"name": "home"}, uid=u) for u in uids]
    on_host("apply", "-f", "-", stdin=yaml.safe_dump_all([home, *cameras]))
    on_host("apply", "--wait", "-f", "-", stdin=yaml.safe_dump(home))
    url = f"http://127.0.0.1:{ports['clientHttp']}"

    def states() -> set[str]:
        return {row["state"] for row in rows(on_host, "--lan-seconds", "0")}

    until("the server claims them", lambda: on_host("qr", "cam-0", "--once", expect=None).returncode == 0)
    spawned("ropsim", "fleet", "--devices", "8", "--prefix", "HELD", "--url", url, "--seconds", "0")
    until("all are online", lambda: states() == {"Online"})
    stream = yaml.safe_dump_all(cameras)
    planned = on_host("plan", "--delete", "-f", "-", stdin=stream, expect=2).stdout
    assert planned.count("DeletionHeld") == len(cameras)

    for path in (tmp_path / "fleet").glob("*camera*"):
        path.unlink()

    def reason() -> str:
        found: str = on_host("get", "ropserver", "home").stdout
        return found

    until("the hold is told", lambda: "DeletionHeld" in reason())
    assert states() == {"Online"}
    assert on_host("undelete", "camera", "--held").stdout.count("is back") == len(cameras)
    until("nothing is held", lambda: "DeletionHeld" not in reason())
    assert {(row["claim"], row["state"]) for row in rows(on_host, "--lan-seconds", "0")} == {("Claimed", "Online")}
    assert on_host("undelete", "camera", "cam-0", expect=1).stderr.count("not being deleted") == 1


def test_a_profile_is_previewed_before_it_is_applied(site: Run, until: Run) -> None:
    camera = document("Camera", "hall", serverRef={"name": "home"}, uid=ENROLLED[0])
    camera["metadata"]["labels"] = {"place": "yard"}
    site("apply", "--wait", "-f", "-", stdin=yaml.safe_dump(camera))
    yard = document(
        "CameraProfile",
        "yard",
        serverRef={"name": "home"},
        selector={"matchLabels": {"place": "yard"}},
        settings={"alarm": {"enabled": False}},
    )
    text = yaml.safe_dump(yard)
    shown = site("profile", "preview", "-f", "-", stdin=text, expect=2).stdout.splitlines()
    assert shown[1].split()[:5] == ["hall", "settings.alarm.enabled", "false", "CameraProfile/yard", "Enforce"]
    told = json.loads(site("profile", "preview", "-f", "-", "-o", "json", stdin=text, expect=2).stdout)["cameras"]
    assert [(each["camera"], each["fields"][0]["change"]) for each in told] == [("Camera/video/hall", "new")]
    assert site("profile", "preview", "nobody", expect=1).stderr.count("there is no CameraProfile nobody") == 1
    assert site("profile", "preview", expect=64).stderr.count("give the NAME") == 1
