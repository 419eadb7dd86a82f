"""Gateways as processes: given files, started, found again, restarted when they die, stopped without a trace."""

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rop_operator.adapters import process_gateways
from rop_operator.adapters.process_gateways import ProcessGateways
from rop_operator.adapters.process_table import find_process
from rop_operator.api.facts import Ref
from rop_operator.domain.plan import EnsureGateway

HOME = Ref("RopServer", "video", "home")
SECRET = "alice:$2b$12$canary"
PLAIN = EnsureGateway("gw", {"host": "gw", "certificate": {"source": "Authority"}}, {})
FULL = EnsureGateway(
    "gw",
    {"host": "gw", "certificate": {"source": "Files"}},
    {"htpasswd": SECRET, "chain.pem": "CHAIN", "key.pem": "KEY"},
)
# A stand-in that behaves like the program towards its starter.
PROGRAM = """
import json, os, signal, sys
assert sys.argv[1:3] == ["run", "--config"]
document = json.load(open(sys.argv[3]))
if os.path.exists(os.path.join(os.path.dirname(__file__), "broken")):
    sys.exit("rop-gateway: nginx is not installed")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    signal.pause()
"""


class Place:
    def __init__(self, folder: Path) -> None:
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM)
        self.root = folder / "gateways"
        self.folder = self.root / "video" / "home"
        self.broken = folder / "broken"

    def gateways(self) -> ProcessGateways:
        command = (sys.executable, str(self.program))
        return ProcessGateways(self.root, command, lambda ref: Path(f"/srv/{ref.name}/run/gateway"))

    def document(self) -> Any:
        return json.loads((self.folder / "gateway.yaml").read_text())


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    yield made
    cleaner = made.gateways()
    await cleaner.stop_all()
    await cleaner.close()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.02)


async def running(gateways: ProcessGateways, wanted: EnsureGateway = PLAIN) -> int:
    async with asyncio.timeout(20):
        while (await gateways.ensure(HOME, wanted)).state != "Running":
            await asyncio.sleep(0.02)
    # A child that has only just begun has no command line for a moment.
    await until(lambda: pid_of(gateways) is not None)
    return pid_of(gateways) or 0


def pid_of(gateways: ProcessGateways) -> int | None:
    found = find_process(("--config", str(gateways._entries[HOME].document)))
    return found.pid if found is not None else None


async def test_what_it_is_given(place: Place) -> None:
    gateways = place.gateways()
    assert (await gateways.observe(HOME, FULL)).state == "Stopped"
    await running(gateways, FULL)
    assert place.document() == {
        "host": "gw",
        "certificate": {
            "source": "Files",
            "chainFile": str(place.folder / "chain.pem"),
            "keyFile": str(place.folder / "key.pem"),
        },
        "directory": str(place.folder / "run"),
        "sockets": "/srv/home/run/gateway",
        "htpasswdFile": str(place.folder / "htpasswd"),
    }
    for path in (place.folder, *place.folder.iterdir()):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    assert (await gateways.observe(HOME, FULL)).same
    assert not (await gateways.observe(HOME, PLAIN)).same
    (place.folder / "htpasswd").write_text("mallory:x")
    assert not (await gateways.observe(HOME, FULL)).same, "a hand in the files is noticed"
    await gateways.close()


async def test_a_change_reaches_the_running_one_and_old_secrets_go(place: Place) -> None:
    gateways = place.gateways()
    pid = await running(gateways, FULL)
    assert await running(gateways, PLAIN) == pid
    assert "htpasswdFile" not in place.document()
    assert {path.name for path in place.folder.iterdir()} == {"gateway.yaml", "gateway.log"}
    assert FULL.document["certificate"] == {"source": "Files"}, "the order itself is never changed"
    await gateways.close()


async def test_it_outlives_its_starter_and_is_found_again(place: Place) -> None:
    first = place.gateways()
    pid = await running(first)
    await first.close()
    second = place.gateways()
    assert second.known() == [HOME]
    assert (await second.observe(HOME, PLAIN)).state == "Running"
    assert await running(second) == pid
    await second.stop(HOME)
    assert second.known() == []
    assert pid_of(second) is None
    await second.close()


async def test_a_dead_one_is_told_and_started_again(place: Place) -> None:
    gateways = place.gateways()
    told: list[Ref] = []
    gateways.changed = told.append
    pid = await running(gateways)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: told != [])
    seen = await gateways.observe(HOME, PLAIN)
    assert (seen.state, seen.same) == ("Failed", True)
    assert await running(gateways) != pid
    await gateways.close()


async def test_one_that_cannot_start_is_tried_less_and_less_often(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_gateways, "BACKOFF_FIRST", 3600.0)
    monkeypatch.setattr(process_gateways, "BACKOFF_MOST", 3600.0)
    place.broken.touch()
    gateways = place.gateways()
    told: list[Ref] = []
    gateways.changed = told.append
    await gateways.ensure(HOME, PLAIN)
    await until(lambda: told != [])
    seen = await gateways.ensure(HOME, PLAIN)
    assert seen.state == "Failed"
    assert seen.message == "the gateway ended with status 1: rop-gateway: nginx is not installed"
    await gateways.stop(HOME)
    place.broken.unlink()
    await running(gateways)
    await gateways.close()


async def test_a_program_that_is_missing_is_named(place: Place) -> None:
    gateways = ProcessGateways(place.root, ("/nonexistent/rop-gateway",), lambda ref: Path("/srv"))
    seen = await gateways.ensure(HOME, PLAIN)
    assert (seen.state, seen.message) == ("Failed", "/nonexistent/rop-gateway: No such file or directory")
    await gateways.close()
