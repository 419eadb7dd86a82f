"""Core servers as units: prepared once, started, given time when they fail. The real thing is in tests/hosts."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rop_operator.adapters.process_runtime import ProcessRuntime
from rop_operator.adapters.systemd_runtime import SystemdRuntime
from rop_operator.adapters.systemd_units import Systemctl
from rop_operator.api.facts import Ref

HOME = Ref("RopServer", "video", "home")
UNIT = "rop-server@video-home.service"
MEMBERS = {"alarm.notificationURL": "https://hook.example/secret"}
ENVIRONMENT = {"ROP_HOSTNAME": "192.0.2.1"}
# It answers `show` from the file `unit` and writes every other call down.
SYSTEMCTL = """#!/bin/sh
here=$(dirname "$0")
[ "$3" = show ] && exec cat "$here/unit"
echo "$@" >> "$here/asked"
"""
SERVER = """
import json, os, sys
arguments = sys.argv[1:]
with open(os.path.join(os.path.dirname(__file__), "calls"), "a") as calls:
    calls.write(json.dumps([arguments, sys.stdin.read(), os.environ.get("ROP_HOSTNAME")]) + "\\n")
if os.path.exists(os.path.join(os.path.dirname(__file__), "broken")):
    print("rop-server: host: no such name")
    sys.exit(78)
"""


class Place:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "servers"
        (folder / "systemctl").write_text(SYSTEMCTL)
        (folder / "systemctl").chmod(0o755)
        (folder / "server.py").write_text(SERVER)
        self.say(ActiveState="inactive", SubState="dead")

    def say(self, **properties: object) -> None:
        (self.folder / "unit").write_text("".join(f"{name}={value}\n" for name, value in properties.items()))

    def runtime(self) -> SystemdRuntime:
        command = (sys.executable, str(self.folder / "server.py"))
        return SystemdRuntime(self.root, command, Systemctl(self.folder / "systemctl"))

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def asked(self) -> list[str]:
        return [line.removeprefix("--no-ask-password --no-pager ") for line in self._lines("asked")]

    def configured(self) -> list[list[Any]]:
        return [json.loads(line) for line in self._lines("calls")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
async def runtime(place: Place) -> AsyncIterator[SystemdRuntime]:
    made = place.runtime()
    yield made
    await made.close()


async def test_a_first_start_is_configured_and_left_to_systemd(place: Place, runtime: SystemdRuntime) -> None:
    state = await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    assert state.state == "Starting"
    folder = place.root / "video" / "home"
    assert state.endpoint is not None
    assert state.endpoint.url == f"unix://{folder}/run/manage.sock"
    [[arguments, patch, host]] = place.configured()
    assert arguments == ["configure", "--data", str(folder), "--patch", "-"]
    assert (json.loads(patch), host) == (MEMBERS, "192.0.2.1")
    assert place.asked() == [f"start --no-block {UNIT}"]
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_a_running_unit_is_not_touched(place: Place, runtime: SystemdRuntime) -> None:
    place.say(ActiveState="active", SubState="running", ActiveEnterTimestampMonotonic=1)
    assert (await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)).state == "Running"
    assert place.asked() == place.configured() == []
    assert runtime.known() == [HOME]


async def test_a_server_that_ran_for_a_while_is_not_configured_again(
    place: Place, runtime: SystemdRuntime
) -> None:
    place.say(ActiveState="active", SubState="running", ActiveEnterTimestampMonotonic=1)
    await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    place.say(ActiveState="inactive", SubState="dead")
    await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    assert place.configured() == []
    assert place.asked() == [f"start --no-block {UNIT}"]


async def test_a_directory_that_somebody_put_there_is_taken_as_it_is(
    place: Place, runtime: SystemdRuntime
) -> None:
    (place.root / "video" / "home").mkdir(parents=True)
    (place.root / "video" / "home" / "config.json").write_text("{}")
    await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    assert place.configured() == []


async def test_one_that_systemd_gave_up_says_why_and_waits(place: Place, runtime: SystemdRuntime) -> None:
    await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    place.say(
        ActiveState="failed", ExecMainCode=1, ExecMainStatus=78, StatusText="config.json: must be strict JSON"
    )
    state = await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    assert (state.state, state.message) == (
        "Failed",
        "the server ended with status 78: config.json: must be strict JSON",
    )
    assert len(place.asked()) == 1


async def test_one_that_systemd_is_about_to_start_again_is_left_to_it(
    place: Place, runtime: SystemdRuntime
) -> None:
    place.say(ActiveState="activating", SubState="auto-restart", ExecMainCode=2, ExecMainStatus=9)
    state = await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    assert (state.state, state.message) == ("Failed", "the server was ended by signal 9")
    assert place.asked() == []


async def test_a_configuration_that_is_refused_starts_nothing(place: Place, runtime: SystemdRuntime) -> None:
    (place.folder / "broken").touch()
    for _ in range(2):
        state = await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
        assert state.state == "Failed"
        assert state.message == "rop-server configure ended with status 78: rop-server: host: no such name"
    assert (len(place.configured()), place.asked()) == (1, [])


async def test_stop_ends_the_sockets_first_and_allows_a_start_at_once(
    place: Place, runtime: SystemdRuntime
) -> None:
    await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    place.say(ActiveState="inactive", TriggeredBy="rop-server@video-home.socket")
    await runtime.stop(HOME)
    await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    start = f"start --no-block {UNIT}"
    assert place.asked() == [start, f"stop rop-server@video-home.socket {UNIT}", start]


async def test_restart_is_one_order(place: Place, runtime: SystemdRuntime) -> None:
    assert (await runtime.restart(HOME)).state == "Starting"
    assert place.asked() == [f"restart --no-block {UNIT}"]


async def test_the_end_of_a_process_is_noticed_at_once(place: Place, runtime: SystemdRuntime) -> None:
    ended: asyncio.Queue[Ref] = asyncio.Queue()
    runtime.changed = ended.put_nowait
    server = await asyncio.create_subprocess_exec("sleep", "600")
    place.say(ActiveState="active", SubState="running", MainPID=server.pid)
    await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    server.kill()
    assert await asyncio.wait_for(ended.get(), 30) == HOME
    await server.wait()


async def test_both_runtimes_know_the_same_servers(place: Place, runtime: SystemdRuntime) -> None:
    await runtime.ensure(HOME, MEMBERS, ENVIRONMENT)
    assert ProcessRuntime(place.root, ("unused",)).known() == [HOME]
