"""kill -9 at every point where a file becomes durable: the next start has the old state or the new one."""

import contextlib
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rop_data.layout import DataDir
from rop_data.store import prepare
from rop_pki import inspect, key_matches

# Kills itself before the Nth fsync or rename; prints how many there were when it survives.
PROGRAM = """
import json, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path

folder, limit, environment, members = Path(sys.argv[1]), int(sys.argv[2]), *map(json.loads, sys.argv[3:5])
seen = 0

def counted(real):
    def call(*arguments, **named):
        global seen
        seen += 1
        if seen == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    return call

os.fsync, os.rename, os.replace = counted(os.fsync), counted(os.rename), counted(os.replace)
Path.replace = counted(Path.replace)
from rop_data.layout import DataDir
from rop_data.store import prepare
directory = DataDir(folder)
with directory.lock():
    prepare(directory, environment, datetime.now(UTC), members)
print(seen)
"""
Start = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def start(environment: dict[str, str]) -> Start:
    def run(folder: Path, limit: int = 0, members: dict[str, Any] | None = None) -> Any:
        arguments = [str(folder), str(limit), json.dumps(environment), json.dumps(members or {})]
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            env={"PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def whole(folder: Path, environment: dict[str, str], now: datetime) -> dict[str, Any]:
    """Open the folder and say who it is; every pair must fit."""
    site = prepare(DataDir(folder), environment, now)
    assert key_matches(site.server_chain_pem, site.server_key_pem)
    assert inspect(site.server_chain_pem).issuer_key_id == site.authority.issuer_key_id
    assert not site.settings.adopted
    assert list(folder.glob(".*.new")) == []
    return {
        "root": site.authority.root_fingerprint,
        "issuer": site.authority.issuer_key_id,
        "sign": site.config.sign_key,
        "keys": site.config.device_keys,
        "instance": site.settings.instance_id,
    }


def kept(folder: Path) -> dict[str, bytes]:
    """The identity files that are there."""
    names = ("rop.json", "certs/ECC/Root/key.pem", "certs/ECC/Root/ca.pem", "certs/ECC/E1/key.pem", "config.json")
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def test_first_start_killed_at_every_write_point(
    tmp_path: Path, start: Start, environment: dict[str, str], now: datetime
) -> None:
    points = int(start(tmp_path / "whole").stdout)
    assert points > 40
    for point in range(1, points + 1, 2):
        folder = tmp_path / str(point)
        assert start(folder, point).returncode == -signal.SIGKILL
        before = kept(folder)
        first = whole(folder, environment, now)
        after = kept(folder)
        # What was there before the kill is what the site goes on with.
        for name, data in before.items():
            if name == "rop.json":
                assert json.loads(after[name])["instanceID"] == json.loads(data)["instanceID"]
            else:
                assert after[name] == data, (point, name)
        assert whole(folder, environment, now) == first


def test_change_killed_at_every_write_point_is_old_or_new(
    tmp_path: Path, start: Start, environment: dict[str, str], now: datetime
) -> None:
    template = tmp_path / "template"
    identity = whole(template, environment, now)
    members = {"serverHost": "other.example.com", "timeout.socket": 50_000}
    subprocess.run(["cp", "-a", str(template), str(tmp_path / "whole")], check=True)
    points = int(start(tmp_path / "whole", 0, members).stdout)
    for point in range(1, points + 1):
        folder = tmp_path / str(point)
        subprocess.run(["cp", "-a", str(template), str(folder)], check=True)
        assert start(folder, point, members).returncode == -signal.SIGKILL
        assert whole(folder, environment, now) == identity
        config = prepare(DataDir(folder), environment, now).config
        assert (config.server_host, config.get("timeout.socket")) in (
            ("rop.example.com", 40_000),
            ("other.example.com", 50_000),
        )


def test_killed_at_random_moments(tmp_path: Path, environment: dict[str, str], now: datetime) -> None:
    dice = random.Random(20260301)
    folder = tmp_path / "d"
    arguments = [str(folder), "0", json.dumps(environment), "{}"]
    known: dict[str, bytes] = {}
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            env={"PYTHONPATH": ":".join(sys.path)},
            stdout=subprocess.DEVNULL,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(dice.uniform(0.1, 0.6))
        process.kill()
        process.wait()
        now_there = kept(folder) if folder.exists() else {}
        for name, data in known.items():
            if name != "rop.json":
                assert now_there[name] == data
        known = now_there
    assert whole(folder, environment, now) == whole(folder, environment, now)
