"""What every test may use: the real control plane of the cluster tests."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def load_file(name: str, path: Path) -> Any:
    """Import a file of the tests by path: folders of tests are not packages."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests on the control plane. Each worker has one of its own: three seconds, and the work is shared."""
    for item in items:
        if "control_plane" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running `ControlPlane` (tests/kube/plane.py) with the kinds of crds/; one per session."""
    plane_file = load_file("rop_tests_kube_plane", HERE / "kube" / "plane.py")
    plane = plane_file.ControlPlane(tmp_path_factory.mktemp("control-plane"), plane_file.binaries())
    try:
        plane.start()
        plane.apply_crds()
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def s3_module() -> Any:
    """The module tests/s3/server.py."""
    return load_file("rop_tests_s3_server", HERE / "s3" / "server.py")


@pytest.fixture(scope="session")
def s3_server(s3_module: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running `S3Server`; one per session. Tests keep apart by prefix."""
    server = s3_module.S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def liar(s3_module: Any, s3_server: Any) -> Iterator[Any]:
    """A `Liar` before that server."""
    made = s3_module.Liar(s3_server)
    yield made
    made.close()
