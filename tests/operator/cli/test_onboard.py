"""`ropctl camera onboard`: a hundred cameras in one run, interrupted and run again; nobody is set up twice."""

import asyncio
import csv
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from free_ports import free_ports
from rop_sim.camera import Camera
from rop_sim.device import Traits
from rop_sim.setup import serve_setup

Run = Callable[..., Any]
PORTS = (
    *("getCAHttps", "getCertHttps", "registerHttps", "keepAliveTCP", "signalingTLS"),
    *("streamTLS", "streamTCP", "clientRtsp", "clientHttp"),
)
FLEET = 100


class Yard:
    """Virtual cameras in this process, each waiting for its set-up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []

    async def open(self, stack: AsyncExitStack) -> None:
        for number in range(FLEET):
            uid = f"YARD{number:012d}"
            camera = Camera(self.folder / uid, Traits(uid), reconnect_min=0.2)
            runner, port = await serve_setup(camera, "127.0.0.1", 0)
            life = asyncio.create_task(camera.run())
            stack.push_async_callback(runner.cleanup)
            stack.callback(life.cancel)
            row = {
                "uid": uid,
                "address": "127.0.0.1",
                "port": port,
                "name": f"yard-{number}",
                "labels": "place=yard",
            }
            self.rows.append(row)

    def write(self, path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)

    def set_ups(self, uid: str) -> int:
        log = (self.folder / uid / "device.log").read_text().splitlines()
        return sum(json.loads(line)["event"] == "setup" for line in log)


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    made = Yard(tmp_path / "yard")
    async with AsyncExitStack() as stack:
        await made.open(stack)
        yield made


def server() -> str:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    demo = [{"edge": "NoBackup", "value": "home"}]
    return json.dumps(
        {
            "apiVersion": "rop.dev/v1alpha1",
            "kind": "RopServer",
            "metadata": {"name": "home"},
            "spec": {"host": "127.0.0.1", "ports": ports, "acknowledge": demo},
        }
    )


@pytest.mark.timeout(600)
async def test_a_hundred_cameras_and_an_interruption(
    on_host: Run, yard: Yard, ropctl_command: Any, tmp_path: Path
) -> None:
    await asyncio.to_thread(on_host, "apply", "--wait", "-f", "-", stdin=server())
    listed = tmp_path / "cameras.csv"
    yard.write(listed)
    args = ("camera", "onboard", "--from", str(listed), "-y", "--timeout", "400")

    first = await asyncio.create_subprocess_exec(*ropctl_command(*args), stderr=asyncio.subprocess.PIPE)
    assert first.stderr is not None
    async for line in first.stderr:
        if not line.startswith(b"0 of"):
            break
    first.send_signal(signal.SIGKILL)
    await first.wait()
    assert line.endswith(b"0 failed, 0 need a QR code\n")

    again = await asyncio.create_subprocess_exec(
        *ropctl_command(*args, "-o", "json"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, progress = await again.communicate()
    results = json.loads(out)["items"]
    assert [(r["row"], r["uid"], r["camera"]) for r in results] == [
        (n + 1, row["uid"], row["name"]) for n, row in enumerate(yard.rows)
    ]
    assert {r["result"] for r in results} == {"Online"}, progress
    assert again.returncode == 0
    assert progress.splitlines()[-1] == b"100 of 100 online, 0 failed, 0 need a QR code"
    assert {yard.set_ups(row["uid"]) for row in yard.rows} == {1}


def test_one_wrong_row_and_nothing_is_done(on_host: Run, tmp_path: Path) -> None:
    on_host("apply", "-f", "-", stdin=server())
    listed = tmp_path / "cameras.csv"
    listed.write_text("uid,address\nYARD000000000001,127.0.0.1\nshort,127.0.0.2\n")
    said = on_host("camera", "onboard", "--from", str(listed), "-y", expect=1).stderr
    assert said.startswith(f"{listed}: row 2: uid: a UID has 16 characters")
    assert json.loads(on_host("get", "cameras", "-o", "json").stdout)["items"] == []
    listed = tmp_path / "cameras.yaml"
    listed.write_text("- {uid: YARD000000000001, name: gate}\n")
    done = on_host("camera", "onboard", "--from", str(listed), "-y", expect=1)
    assert done.stdout.splitlines()[1].split()[:4] == ["1", "YARD000000000001", "gate", "NeedsQR"]
