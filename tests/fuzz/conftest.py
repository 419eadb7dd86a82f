"""The fuzzing programs of this folder as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"rop_fuzz_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


TARGETS = _load("targets").TARGETS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per target."""
    if "target_name" in metafunc.fixturenames:
        metafunc.parametrize("target_name", sorted(TARGETS))


@pytest.fixture
def target(target_name: str) -> object:
    """The function of the target."""
    return TARGETS[target_name]


@pytest.fixture(scope="session")
def fuzz_run() -> ModuleType:
    """`run.py`."""
    return _load("run")


@pytest.fixture(scope="session")
def mutate() -> ModuleType:
    """`mutate.py`."""
    return _load("mutate")
