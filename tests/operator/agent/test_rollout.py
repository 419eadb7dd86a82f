"""Firmware rollouts by rop-agent: a real server, real transfers to virtual cameras, kills in the middle."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.timeout(400)]

BIN = Path(sys.executable).parent
OLD, NEW = "v3.1.0.1_25010100", "v3.2.0.1_26010100"
MODEL = "ROP Virtual"
UIDS = {f"c{number}": f"ROLLOUT00000000{number}" for number in range(4)}
FILE = random.Random(7).randbytes(300_000)


def documents(host: Any, **rollout: Any) -> None:
    """A server, four cameras, one image to be uploaded, one rollout: a canary, then the rest."""
    found = [host.server_document()]
    for name, uid in UIDS.items():
        camera = host.document(
            "Camera", name, serverRef={"name": "home"}, uid=uid, provision={"attempt": 1, "lan": {}}
        )
        camera["metadata"]["labels"] = {"fleet": "yes"}
        found.append(camera)
    sha256 = hashlib.sha256(FILE).hexdigest()
    found.append(
        host.document("FirmwareImage", "new", sha256=sha256, version=NEW, models=[MODEL], source={"upload": {}})
    )
    spec = {
        "serverRef": {"name": "home"},
        "imageRef": {"name": "new"},
        "selector": {"matchLabels": {"fleet": "yes"}},
        "waves": [{"name": "canary", "count": 1}, {"name": "rest"}],
        **rollout,
    }
    found.append(host.document("FirmwareRollout", "spring", **spec))
    temporary = host.fleet / ".all"
    temporary.write_text(yaml.safe_dump_all(found))
    temporary.replace(host.fleet / "all.yaml")


def begin(host: Any, *traits: str) -> None:
    for name, uid in UIDS.items():
        host.camera(name, uid, "--firmware", OLD, "--reboot-seconds", "0.2", *traits)
    host.start("--stop-servers")
    for name in UIDS:
        host.reaches("Camera", name, "Ready")


def ropctl(host: Any, *args: str) -> subprocess.CompletedProcess[str]:
    command = [f"{BIN}/ropctl", "--state", str(host.state), "-n", "video", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def upload(host: Any, content: bytes = FILE) -> subprocess.CompletedProcess[str]:
    file = host.folder / "new.pak"
    file.write_bytes(content)
    return ropctl(host, "firmware", "upload", "new", str(file))


def runs(host: Any, name: str) -> str:
    """The firmware text that a camera told last."""
    told: str = host.status("Camera", name).get("firmware") or ""
    return told


def installed(host: Any, name: str) -> int:
    return len(host.happened(name, "installing"))


def test_a_file_goes_to_the_canary_then_to_the_rest_once_each(host: Any) -> None:
    documents(host, suspend=True)
    begin(host)
    host.reaches("FirmwareImage", "new", "Ready", "False", "UploadPending")
    other = upload(host, FILE[:-1])
    assert (other.returncode, "sha256" in other.stderr) == (1, True)
    assert upload(host).returncode == 0
    host.reaches("FirmwareImage", "new", "Ready")
    documents(host)
    host.reaches("FirmwareRollout", "spring", "Complete")
    assert {name: installed(host, name) for name in UIDS} == dict.fromkeys(UIDS, 1)
    shown = ropctl(host, "rollout", "status", "spring", "-o", "json")
    status = json.loads(shown.stdout)
    assert (status["done"], status["total"], status["end"]) == (4, 4, "Complete")
    assert [(w["name"], w["total"], w["updated"]) for w in status["waves"]] == [("canary", 1, 1), ("rest", 3, 3)]
    begun = sorted((host.happened(name, "firmware")[0]["t"], name) for name in UIDS)
    canary = begun[0][1]
    installing = host.happened(canary, "installing")[0]["t"]
    back = next(e["t"] for e in host.happened(canary, "online") if e["t"] > installing)
    assert back < begun[1][0], "nobody else begins before the canary is back"


def test_a_bad_file_stops_at_the_canary(host: Any) -> None:
    documents(host, attempts=1)
    begin(host, "--fault", "upgrade-refuse-slice")
    assert upload(host).returncode == 0
    found = host.reaches("FirmwareRollout", "spring", "Failed", "True", "ThresholdExceeded")
    assert "canary" in found["message"]
    asked = {name: len(host.happened(name, "firmware")) for name in UIDS}
    assert sorted(asked.values()) == [0, 0, 0, 1], "three cameras were not touched"
    assert ropctl(host, "rollout", "status", "spring").returncode == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_of_agent_and_server_upgrade_nobody_twice(host: Any, seed: int) -> None:
    dice = random.Random(seed)
    documents(host, waves=[{"name": "all"}])
    begin(host)
    assert upload(host).returncode == 0
    for victim in dice.sample(["agent", "server", "agent"], 3):
        # A random moment of the work, without waiting for a time.
        for _ in range(dice.randrange(6)):
            host.status("FirmwareRollout", "spring")
        if victim == "agent":
            host.kill()
            host.start("--stop-servers")
        else:
            os.kill(host.poll("a server runs", host.server).pid, signal.SIGKILL)
    host.reaches("FirmwareRollout", "spring", "Complete")
    host.poll("all tell the new text", lambda: all(runs(host, name) == NEW for name in UIDS))
    assert {name: installed(host, name) for name in UIDS} == dict.fromkeys(UIDS, 1)
