"""`ropctl` as a user runs it: the program of this environment."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROPCTL = Path(sys.executable).parent / "ropctl"
NUMBERS = itertools.count(1)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


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
