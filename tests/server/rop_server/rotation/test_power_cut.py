"""Power cut at any moment of a rotation: what was not synced is gone, the site is where it was or a step further.

A real ext4 on a loop file: a copy of the file, taken while it is mounted and nobody writes, is what a disk holds.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

import pytest

from rop_pki import inspect, key_matches

STEPS = Path(__file__).with_name("steps.py")
SIZE = 48 * 1024 * 1024
# The journal is written when something is synced, and else never while a test lasts.
OPTIONS = "loop,commit=300"
LOOKS = 8
BETWEEN_S = 0.1
PATHS = {
    "SignKey": ("Prepare", "Roll", "Retire"),
    "Intermediate": ("Prepare", "Roll", "Observe", "Retire"),
    "Root": ("Prepare", "CrossSign", "Canary", "Roll", "Observe", "Retire"),
}
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file")


class Disk:
    """A mounted file system, and copies of it as a cut leaves them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._copies = folder, 0
        self._file, self.root = folder / "disk.img", folder / "disk"
        with self._file.open("wb") as file:
            file.truncate(SIZE)
        _run("mkfs.ext4", "-q", "-F", "-J", "size=4", str(self._file))
        self.root.mkdir()
        _run("mount", "-o", OPTIONS, str(self._file), str(self.root))

    def cut(self) -> Path:
        """What the disk holds now, as a file."""
        self._copies += 1
        copy = self._folder / f"cut-{self._copies}.img"
        _run("cp", "--sparse=always", str(self._file), str(copy))
        return copy

    def look_into(self, copy: Path, look: Callable[[Path], None]) -> None:
        """Mount a copy, as the next boot does, and look."""
        place = copy.with_suffix("")
        place.mkdir()
        _run("mount", "-o", "loop", str(copy), str(place))
        try:
            look(place)
        finally:
            _run("umount", str(place))

    def close(self) -> None:
        """Unmount."""
        _run("umount", str(self.root))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def _stopped(group: int) -> Iterator[None]:
    """The processes of a group do not run meanwhile, and none of their writes is under way."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGSTOP)
    while any(state not in "TZ" for state in _states(group)):
        time.sleep(0.001)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGCONT)


def _states(group: int) -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = path.read_text().rsplit(") ", 1)[1].split()[:3]
            if int(of) == group:
                yield state


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    one = Disk(tmp_path)
    yield one
    one.close()


@pytest.fixture(scope="module")
def steps() -> ModuleType:
    """The module that takes steps."""
    spec = importlib.util.spec_from_file_location("rop_server_rotation_power_cut_steps", STEPS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_what_was_not_synced_is_gone(disk: Disk) -> None:
    """The control: without it the other test could not fail."""
    (disk.root / "synced").write_text("here")
    os.sync()
    (disk.root / "careless").write_text("here")
    (disk.root / "careless.new").write_text("here")
    (disk.root / "careless.new").rename(disk.root / "renamed")

    def look(place: Path) -> None:
        assert (place / "synced").read_text() == "here"
        careless = [place / name for name in ("careless", "renamed")]
        assert not any(path.exists() and path.read_text() for path in careless)

    disk.look_into(disk.cut(), look)


@pytest.mark.parametrize("item", list(PATHS))
def test_a_cut_leaves_a_whole_site(disk: Disk, steps: ModuleType, item: str) -> None:
    data = disk.root / "data"
    with steps.Opened(data) as site:
        first, _ = site.keys(item)
    os.sync()
    walk = subprocess.Popen(
        [sys.executable, str(STEPS), str(data), "0", item, *PATHS[item]],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    cuts = []
    while walk.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            walk.wait(BETWEEN_S)
        with _stopped(walk.pid):
            cuts.append(disk.cut())
    assert walk.returncode == 0
    cuts.append(disk.cut())
    seen = set()
    looked_at = list(dict.fromkeys((*cuts[:: max(1, len(cuts) // LOOKS)], cuts[-1])))
    to_end = looked_at[len(looked_at) // 2]

    def look(place: Path) -> None:
        with steps.Opened(place / "data") as site:
            state, (current, accepted) = site.items[item].state(), site.keys(item)
            seen.add((state.generation, state.phase))
            assert current in accepted
            assert (current == first) == (state.generation == 1 and state.phase not in ("Rolling", "Observing"))
            assert key_matches(site.site.server_chain_pem, site.site.server_key_pem)
            assert inspect(site.site.server_chain_pem).issuer_key_id == site.site.authority.issuer_key_id
            if state.generation == 1 and place.name == to_end.stem:
                assert site.take(item, PATHS[item]).generation == 2

    for copy in looked_at:
        disk.look_into(copy, look)
    assert (2, "Idle") in seen, "a step that was carried out is on the disk"
    assert len(cuts) > 1
