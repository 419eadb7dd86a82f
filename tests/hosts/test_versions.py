"""Versions on real hosts: update, way back, removal; ports stay open, data and keys stay."""

from pathlib import Path
from typing import Any

import pytest

SERVER = "rop-server@video-home.service"
SOCKET = "rop-server@video-home.socket"
KNOCK = """
import socket, time
while True:
    socket.create_connection(("127.0.0.1", 61005), 60).close()
    time.sleep(0.02)
"""
PURGE = "DEBIAN_FRONTEND=noninteractive apt-get -qy purge"


@pytest.fixture(scope="session")
def knocked(camera: Any) -> Any:
    """The host with ports that systemd keeps, and somebody who connects all the time and gives up when refused."""
    camera.run(f"systemctl stop rop-agent {SERVER} && systemctl enable --now {SOCKET}")
    camera.run(f"systemd-run -q --unit=knocking python3 -c '{KNOCK}'")
    camera.until(camera.active, 60, "a connection starts the server")
    camera.run("systemctl start rop-agent")
    camera.until(lambda: camera.ready() and camera.online(), 90, "the agent takes it as it is")
    return camera


# Packages are built before somebody knocks.
def test_an_update_keeps_data_and_refuses_no_connection(
    next_packages: dict[str, list[Path]], knocked: Any
) -> None:
    keys, before = knocked.keys(), knocked.shown("MainPID")
    knocked.install(next_packages[knocked.suite], "/opt/next")
    assert knocked.shown("MainPID") != before, "the server runs the new version"
    assert knocked.active("knocking"), "a connection was refused"
    knocked.until(lambda: knocked.ready() and knocked.online(), 90, "all is well on the new version")
    assert knocked.keys() == keys
    assert knocked.running_version().endswith("-2")


def test_the_version_before_is_one_command_away(knocked: Any) -> None:
    knocked.run("update-alternatives --set rop $(ls -d /usr/lib/rop/*-1)")
    knocked.run(f"systemctl restart {SERVER} rop-agent")
    assert knocked.running_version().endswith("-1")
    assert knocked.active("knocking"), "a connection was refused"
    knocked.until(lambda: knocked.ready() and knocked.online(), 90, "all is well on the version before")
    knocked.run("systemctl stop knocking")


def test_purge_keeps_the_keys_unless_told(knocked: Any) -> None:
    keys = knocked.keys()
    knocked.run(f"{PURGE} rop-gateway rop-operator rop-server 'rop-core-*'")
    assert knocked.keys() == keys
    knocked.refuses("ls /usr/lib/rop")
    assert knocked.shown("ActiveState") == "inactive"
    assert knocked.shown("ActiveState", SOCKET) == "inactive"
    knocked.run("apt-get install -qy --no-install-recommends /opt/next/*.deb")
    assert knocked.keys() == keys
    knocked.run("echo 'rop-server rop-server/remove-keys boolean true' | debconf-set-selections")
    knocked.run(f"{PURGE} rop-gateway rop-operator rop-server 'rop-core-*'")
    knocked.refuses("ls /var/lib/rop")
    knocked.refuses("ls /etc/rop")
