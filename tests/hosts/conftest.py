"""Real Debian hosts and the packages of this checkout: built once, one booted host for each release of Debian."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SUITES = ("bookworm", "trixie")

sys.path.insert(0, str(HERE))
import lab as lab_module  # noqa: E402
from machine import Machine  # noqa: E402

sys.path.remove(str(HERE))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They have a target of their own: booting and installing take longer than other tests."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.hosts)
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An empty `Lab`."""
    missing = [name for name in lab_module.NEEDS if shutil.which(name) is None]
    assert not missing, f"missing programs, see tools/needs.sh: {missing}"
    if os.getuid() != 0:
        pytest.skip("Debian hosts are booted as root")
    made = lab_module.Lab(tmp_path_factory.mktemp("hosts"))
    yield made
    made.down()


@pytest.fixture(scope="session")
def machine_of(lab: Any) -> Callable[[str], Machine]:
    """A host of the lab, by its name."""
    return lambda name: Machine(lab, name)


@pytest.fixture(scope="session")
def gate() -> str:
    """The test's own address in the hosts' network."""
    address: str = lab_module.GATE
    return address


@pytest.fixture(scope="session")
def build() -> Callable[..., None]:
    """`make deb` with options, in a checkout."""
    return run_build


def run_build(checkout: Path, *options: str, **environment: str) -> None:
    """`make deb` with options, in a checkout."""
    command = [sys.executable, "tools/deb.py", *options]
    done = subprocess.run(
        command, cwd=checkout, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def packages_in(folder: Path) -> dict[str, list[Path]]:
    """Packages of each suite below a folder."""
    return {suite: sorted((folder / suite).glob("*.deb")) for suite in SUITES}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Packages of both suites, freshly built; `ROP_TEST_PACKAGES`: where they stay, built once."""
    given = os.environ.get("ROP_TEST_PACKAGES")
    return built(Path(given) if given else tmp_path_factory.mktemp("packages"))


def built(folder: Path, *options: str) -> dict[str, list[Path]]:
    """Packages of each suite below a folder; built when there are none."""
    if not all(packages_in(folder).values()):
        run_build(ROOT, "--to", str(folder), *options)
    return packages_in(folder)


@pytest.fixture(scope="session")
def next_packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The same as revision 2."""
    given = os.environ.get("ROP_TEST_PACKAGES")
    return built(Path(given) / "next" if given else tmp_path_factory.mktemp("next"), "--revision", "2")


@pytest.fixture(scope="session", params=SUITES)
def host(request: pytest.FixtureRequest, lab: Any, packages: dict[str, list[Path]]) -> Machine:
    """A host with the packages and nothing else."""
    machine = Machine(lab, f"pkg-{request.param}", {"acknowledge": [{"edge": "NoBackup", "value": "home"}]})
    lab.up({machine.name: str(request.param)})
    machine.run("apt-get update -q")
    machine.install(packages[machine.suite], "/opt/packages")
    return machine


@pytest.fixture(scope="session")
def serving(host: Machine) -> Machine:
    """The host with a server that the agent started."""
    host.run("systemctl enable --now rop-agent")
    host.apply()
    host.until(host.active, 60, "the server runs")
    return host


@pytest.fixture(scope="session")
def camera(serving: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The host with a virtual camera beside it, found by discovery and handed over by the agent."""
    folder = tmp_path_factory.mktemp("camera")
    program = [str(Path(sys.executable).with_name("ropsim")), "camera", "--state", str(folder / "state")]
    where = ["--uid", serving.uid, "--setup-address", lab_module.GATE, "--strict"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(serving.lab.inside(*program, *where), stdout=log, stderr=log)
        try:
            serving.until(serving.online, 120, "the camera is online")
            yield serving
        finally:
            running.terminate()
            running.wait()
