"""What systemd hears of the gateway."""

import asyncio
import socket
from pathlib import Path

import pytest

from rop_gateway.systemd import feed_watchdog, tell


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """A socket in the place of systemd's."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.settimeout(10)
    listening.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return listening


def test_a_state_is_told(heard: socket.socket) -> None:
    with heard:
        tell("READY=1")
        assert heard.recv(100) == b"READY=1"


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    tell("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    tell("READY=1")


async def test_the_watchdog_is_fed_again_and_again(heard: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    stop = asyncio.Event()
    feeding = asyncio.create_task(feed_watchdog(stop))
    with heard:
        assert [await asyncio.to_thread(heard.recv, 100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    stop.set()
    await feeding
    monkeypatch.delenv("WATCHDOG_USEC")
    await feed_watchdog(asyncio.Event())
