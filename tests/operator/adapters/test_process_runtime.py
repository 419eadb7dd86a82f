"""Core servers as processes: they outlive their starter, are found again, restarted when they die, stopped."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rop_operator.adapters import process_runtime
from rop_operator.adapters.process_runtime import ProcessRuntime
from rop_operator.adapters.process_table import ProcessId
from rop_operator.api.facts import Ref

HOME = Ref("RopServer", "video", "home")
MEMBERS = {"alarm.notificationURL": "https://hook.example/secret"}
ENVIRONMENT = {"ROP_HOSTNAME": "192.0.2.1"}
# A stand-in that behaves like the program towards its starter and writes down how it was called.
PROGRAM = """
import json, os, signal, sys, time
arguments = sys.argv[1:]
folder = arguments[arguments.index("--data") + 1]
with open(os.path.join(os.path.dirname(__file__), "calls"), "a") as calls:
    patch = sys.stdin.read() if "--patch" in arguments else ""
    calls.write(json.dumps([arguments, patch, os.environ.get("ROP_HOSTNAME"), os.getpid()]) + "\\n")
if "configure" in arguments:
    sys.exit(0)
if os.path.exists(os.path.join(os.path.dirname(__file__), "broken")):
    said = {"level": "error", "message": "ports.signalingTLS: port 61005 is in use", "remedy": "stop pid 7"}
    print(json.dumps(said))
    sys.exit(75)
os.makedirs(os.path.join(folder, "run"), exist_ok=True)
open(os.path.join(folder, "run", "manage.sock"), "w").close()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    signal.pause()
"""


class Place:
    def __init__(self, folder: Path) -> None:
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM)
        self.root = folder / "servers"
        self.broken = folder / "broken"

    def runtime(self) -> ProcessRuntime:
        return ProcessRuntime(self.root, (sys.executable, str(self.program)))

    def calls(self) -> list[list[Any]]:
        path = self.program.with_name("calls")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def starts(self) -> list[int]:
        return [pid for arguments, _, _, pid in self.calls() if "configure" not in arguments]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    yield made
    cleaner = made.runtime()
    await cleaner.stop_all()
    await cleaner.close()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.02)


async def running(runtime: ProcessRuntime) -> int:
    async with asyncio.timeout(20):
        while (await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)).state != "Running":
            await asyncio.sleep(0.02)
    return json.loads((runtime.folder(HOME).parent / "home_record.json").read_text())["process"]["pid"]


async def test_first_start_configures_then_runs(place: Place) -> None:
    runtime = place.runtime()
    state = await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    assert state.state == "Starting"
    assert state.endpoint is not None
    assert state.endpoint.url == f"unix://{place.root}/video/home/run/manage.sock"
    await running(runtime)
    folder = str(place.root / "video" / "home")
    configure, start = place.calls()
    assert configure[:3] == [["configure", "--data", folder, "--patch", "-"], json.dumps(MEMBERS), "192.0.2.1"]
    assert start[:3] == [["--data", folder], "", None], "its environment holds nothing of the first start"
    await runtime.close()


async def test_a_server_outlives_its_starter_and_is_found_again(place: Place) -> None:
    first = place.runtime()
    pid = await running(first)
    await first.close()
    second = place.runtime()
    assert second.known() == [HOME]
    assert await running(second) == pid
    await second.close()
    assert len(place.calls()) == 2


async def test_a_server_whose_record_was_lost_is_found_by_its_command_line(place: Place) -> None:
    first = place.runtime()
    pid = await running(first)
    await first.close()
    (place.root / "video" / "home_record.json").unlink()
    second = place.runtime()
    assert await running(second) == pid
    await second.close()


async def test_a_pid_of_another_process_is_not_taken_for_the_server(place: Place) -> None:
    first = place.runtime()
    pid = await running(first)
    await first.stop(HOME)
    await first.close()
    record = place.root / "video" / "home_record.json"
    mine = ProcessId.of(os.getpid())
    assert mine is not None
    wrong = {"pid": mine.pid, "started": mine.started + 1, "boot": mine.boot}
    record.write_text(json.dumps({"phase": "Configured", "process": wrong}))
    second = place.runtime()
    assert await running(second) not in (pid, os.getpid())
    await second.close()


async def test_a_killed_server_is_started_again_and_its_end_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_runtime, "BACKOFF_FIRST", 0.1)
    runtime = place.runtime()
    told: list[Ref] = []
    runtime.changed = told.append
    pid = await running(runtime)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: HOME in told)
    state = await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    assert state.state in ("Failed", "Starting")
    assert await running(runtime) != pid
    await runtime.close()


async def test_starting_in_vain_gets_rarer_and_tells_why(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_runtime, "BACKOFF_FIRST", 0.1)
    place.broken.touch()
    runtime = place.runtime()
    told: list[float] = []
    runtime.changed = lambda ref: told.append(asyncio.get_running_loop().time())
    async with asyncio.timeout(30):
        while len(place.starts()) < 4:
            state = await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
            await asyncio.sleep(0.01)
    await until(lambda: runtime._entry(HOME).failures >= 4)
    state = await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    assert state.state == "Failed"
    message = state.message or ""
    assert "status 75" in message
    assert "ports.signalingTLS: port 61005 is in use" in message
    assert "stop pid 7" in message
    waited = runtime._entry(HOME).not_before - asyncio.get_running_loop().time()
    assert 0.4 < waited <= 0.8
    place.broken.unlink()
    await running(runtime)
    await runtime.close()


async def test_stop_ends_the_process_and_keeps_the_data(place: Place) -> None:
    runtime = place.runtime()
    pid = await running(runtime)
    await runtime.stop(HOME)
    assert ProcessId.of(pid) is None
    assert runtime.folder(HOME).is_dir()
    assert await running(runtime) != pid, "it can be started again at once"
    again = await running(runtime)
    await runtime.restart(HOME)
    assert ProcessId.of(again) is None
    await runtime.close()


async def test_data_that_was_put_there_is_taken_as_it_is(place: Place) -> None:
    folder = place.root / "video" / "home"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    runtime = place.runtime()
    await running(runtime)
    assert [arguments[0] for arguments, *_ in place.calls()] == ["--data"]
    await runtime.close()


async def test_a_command_that_does_not_exist_is_named(place: Place) -> None:
    runtime = ProcessRuntime(place.root, ("/nonexistent/rop-server",))
    state = await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    assert (state.state, state.message) == ("Failed", "/nonexistent/rop-server: No such file or directory")
    await runtime.close()


def test_records_are_private_and_hold_no_secret(place: Place) -> None:
    async def go() -> None:
        runtime = place.runtime()
        await running(runtime)
        await runtime.close()

    asyncio.run(go())
    record = place.root / "video" / "home_record.json"
    assert record.stat().st_mode & 0o077 == 0
    assert "secret" not in record.read_text()
