"""What the agent tells systemd, over a real socket."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rop_operator.adapters.supervisor import Supervisor


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening


def test_a_state_arrives(systemd: socket.socket) -> None:
    Supervisor.of({"NOTIFY_SOCKET": systemd.getsockname()}).tell("READY=1")
    assert systemd.recv(100) == b"READY=1"


def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0rop-test-{id(listening)}")
        listening.settimeout(10)
        Supervisor.of({"NOTIFY_SOCKET": f"@rop-test-{id(listening)}"}).tell("STOPPING=1")
        assert listening.recv(100) == b"STOPPING=1"


def test_nobody_listens_and_nothing_fails(tmp_path: Path) -> None:
    Supervisor.of({}).tell("READY=1")
    Supervisor.of({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")


async def test_the_watchdog_is_fed_until_the_end(systemd: socket.socket) -> None:
    stop = asyncio.Event()
    supervisor = Supervisor.of({"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "30000"})
    feeding = asyncio.create_task(supervisor.feed_watchdog(stop))
    for _ in range(3):
        assert await asyncio.to_thread(systemd.recv, 100) == b"WATCHDOG=1"
    stop.set()
    await asyncio.wait_for(feeding, 10)
