"""Kills, full disks and second writers: an archive and a restored directory are whole or not there."""

import os
import random
import resource
import signal
import subprocess
import threading
from datetime import UTC, datetime, timedelta

import pytest

from rop_data.archive.create import load
from rop_data.archive.restore import restore
from rop_data.archive.shelf import shelve
from rop_data.archive.target import DirectoryTarget
from rop_data.layout import LockedError

NOW = datetime(2026, 7, 1, 3, 0, tzinfo=UTC)


def in_child(work, seconds: float | None = None) -> int:
    """Run in a forked process, killed after so long; its wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        threading.Event().wait(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def test_a_killed_restore_leaves_all_or_nothing(world, expect, tmp_path):
    path, header = world.archive()
    restore(path, tmp_path / "model", world.alice, expect(header))
    model = {
        p.relative_to(tmp_path / "model"): p.read_bytes() for p in (tmp_path / "model").rglob("*") if p.is_file()
    }
    target, chance, killed = tmp_path / "new", random.Random(5), 0
    for number in range(60):
        goal = target.with_name(f"new{number}")
        status = in_child(
            lambda goal=goal: restore(path, goal, world.alice, expect(header)), chance.random() * 0.06
        )
        killed += os.WIFSIGNALED(status)
        if goal.exists():
            found = {p.relative_to(goal): p.read_bytes() for p in goal.rglob("*") if p.is_file()}
            assert found == model
        else:
            restore(path, goal, world.alice, expect(header))
    assert killed > 0
    assert not list(tmp_path.glob(".new*.restore"))


def test_killed_archives_are_never_half_there(world):
    made = 0
    chance = random.Random(6)
    for number in range(40):
        moment = NOW + timedelta(seconds=number)
        in_child(lambda moment=moment: world.archive(moment), chance.random() * 0.06)
        found = shelve(DirectoryTarget(world.shelf))
        assert [each.problem for each in found if each.problem] == []
        made = len(found)
    path, header = world.archive(NOW + timedelta(days=1))
    assert load(path).header == header
    assert header.generation == 1
    assert len(shelve(DirectoryTarget(world.shelf))) == made + 1


def test_a_full_disk_leaves_no_archive(world):
    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        world.archive()

    assert in_child(work) != 0
    assert list(world.shelf.iterdir()) == []
    world.archive()


def test_a_full_disk_leaves_no_directory(world, expect, tmp_path):
    path, header = world.archive()

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        restore(path, tmp_path / "new", world.alice, expect(header))

    assert in_child(work) != 0
    assert not list(tmp_path.glob("*new*"))


def test_two_archives_at_once(world):
    world.archive()
    lock = world.directory.root / "archive" / "lock"
    holder = subprocess.Popen(
        ["flock", lock, "-c", "echo held; read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdin is not None
    holder.stdout.readline()
    with pytest.raises(LockedError):
        world.archive(NOW + timedelta(seconds=1))
    holder.communicate(b"\n")
    world.archive(NOW + timedelta(seconds=1))
