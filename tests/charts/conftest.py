"""Helm, built from its Go module, with a release in a namespace of its own on the real API server."""

import itertools
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "rop"
NUMBERS = itertools.count(1)


class Helm:
    """The program. `kubeconfig` None: rendering only."""

    def __init__(self, program: str, kubeconfig: Path | None = None) -> None:
        self._program = program
        self._kubeconfig = kubeconfig

    def run(self, *args: str) -> "subprocess.CompletedProcess[str]":
        more = [] if self._kubeconfig is None else [f"--kubeconfig={self._kubeconfig}"]
        return subprocess.run(
            [self._program, *args, *more], capture_output=True, text=True, check=False, timeout=120
        )

    def __call__(self, *args: str) -> str:
        done = self.run(*args)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def render(self, values: Mapping[str, Any] | None = None, release: str = "rop") -> list[dict[str, Any]]:
        """The manifests, hooks included, without the kinds."""
        flags = [f"--set-json={key}={json.dumps(value)}" for key, value in (values or {}).items()]
        text = self("template", release, str(CHART), "--namespace", "video", *flags)
        return [document for document in yaml.safe_load_all(text) if document]


@pytest.fixture(scope="session")
def program() -> str:
    """Path of helm; builds it when it is not there."""
    done = subprocess.run([ROOT / "tools/helm.sh"], capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def helm(program: str) -> Helm:
    """For rendering."""
    return Helm(program)


@pytest.fixture
def release(control_plane: Any, program: str) -> Iterator[tuple[Helm, str]]:
    """Helm as cluster-admin, and an empty namespace."""
    namespace = control_plane.namespace(f"chart-{next(NUMBERS)}")
    made = Helm(program, control_plane.kubeconfig)
    yield made, namespace
    made.run("uninstall", "rop", "--namespace", namespace)
