"""`ropctl` as a user runs it: the program of this environment."""

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from free_ports import free_ports

BIN = Path(sys.executable).parent
ROPCTL = BIN / "ropctl"
LOOPBACK_BROADCAST = "127.255.255.255"
UID = "9527000100000001"
NUMBERS = itertools.count(1)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def poll(what: str, read: Callable[[], Any], patience: float = 40.0) -> None:
    deadline = time.monotonic() + patience
    while not read():
        assert time.monotonic() < deadline, f"never happened: {what}"
        threading.Event().wait(0.1)


def spawn(log: Path, *command: str) -> "subprocess.Popen[bytes]":
    with log.open("ab") as out:
        return subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


@pytest.fixture
def ropctl(tmp_path: Path) -> Run:
    """`ropctl(*args, stdin=None, expect=0)`: run it; the exit code must be `expect`."""

    def run(*args: str, stdin: str | None = None, expect: int | None = 0) -> "subprocess.CompletedProcess[str]":
        environment = {k: v for k, v in os.environ.items() if k != "KUBECONFIG"} | {"HOME": str(tmp_path)}
        done = subprocess.run(
            [str(ROPCTL), *args],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
            env=environment,
        )
        assert expect in (None, done.returncode), f"{args}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    return run


@pytest.fixture
def namespace(control_plane: Any) -> str:
    name: str = control_plane.namespace(f"cli-{next(NUMBERS)}")
    return name


@pytest.fixture
def on_cluster(ropctl: Run, control_plane: Any, namespace: str) -> Run:
    """`ropctl` on the control plane, in a namespace of its own."""

    def run(*args: str, stdin: str | None = None, expect: int | None = 0) -> "subprocess.CompletedProcess[str]":
        return ropctl(
            "--kubeconfig", str(control_plane.kubeconfig), "-n", namespace, *args, stdin=stdin, expect=expect
        )

    return run


@pytest.fixture
def discovery() -> list[str]:
    """Flags by which ropctl and agent find virtual cameras."""
    (port,) = free_ports(1, socket.SOCK_DGRAM)
    return ["--allow-loopback", "--discovery-address", LOOPBACK_BROADCAST, "--discovery-port", str(port)]


@pytest.fixture
def on_host(ropctl: Run, tmp_path: Path, discovery: list[str]) -> Iterator[Run]:
    """`ropctl` with an agent of its own; a virtual camera that waits for its set-up is on the LAN."""
    fleet, state = tmp_path / "fleet", tmp_path / "state"
    fleet.mkdir()
    (fleet / "README.yaml").write_text("# documents go here\n")
    camera_flags = (
        "--state",
        str(tmp_path / "front-door"),
        "--uid",
        UID,
        "--setup-port",
        "0",
        "--reconnect-min",
        "0.2",
    )
    processes = [
        spawn(
            tmp_path / "agent.log",
            "rop-agent",
            *("--dir", str(fleet), "--state", str(state), "--stop-servers", "--lan-cidrs", "127.0.0.0/8"),
            *discovery,
        ),
        spawn(tmp_path / "camera.log", "ropsim", "camera", *camera_flags, *discovery[1:]),
    ]

    def run(*args: str, stdin: str | None = None, expect: int | None = 0) -> Any:
        return ropctl("--state", str(state), "-n", "video", *args, stdin=stdin, expect=expect)

    try:
        poll("the agent listens", (state / "agent.sock").exists)
        poll("the camera listens", (tmp_path / "front-door" / "ready.json").exists)
        yield run
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


@pytest.fixture
def until() -> Run:
    """`until(what, read)`: wait until `read()` is true."""
    return poll


@pytest.fixture
def uid() -> str:
    """UID of the virtual camera beside `on_host`."""
    return UID


@pytest.fixture
def spawned(tmp_path: Path) -> Iterator[Run]:
    """`spawned(program, *args)`: a process that is ended with the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> Any:
        processes.append(spawn(tmp_path / f"{command[0]}-{len(processes)}.log", *command))
        return processes[-1]

    yield start
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(30)


@pytest.fixture
def ropctl_command(tmp_path: Path) -> Callable[..., list[str]]:
    """`ropctl_command(*args)`: the command line for the agent of `on_host`."""
    return lambda *args: [str(ROPCTL), "--state", str(tmp_path / "state"), "-n", "video", *args]
