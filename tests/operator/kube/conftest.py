"""A namespace of its own and an API client as cluster-admin for each test."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rop_operator.adapters.kube_api import KubeApi, load_credentials

EXAMPLES = Path(__file__).parents[3] / "examples" / "cluster"
NUMBERS = itertools.count(1)


@pytest.fixture
def namespace(control_plane: Any, request: pytest.FixtureRequest) -> str:
    name: str = control_plane.namespace(f"kube-{next(NUMBERS)}")
    return name


@pytest.fixture
async def api(control_plane: Any) -> AsyncIterator[KubeApi]:
    client = KubeApi(lambda: load_credentials(str(control_plane.kubeconfig)))
    yield client
    await client.close()


@pytest.fixture
def shipped_rules() -> list[dict[str, Any]]:
    """The rights that the shipped example gives to the operator."""
    documents = yaml.safe_load_all((EXAMPLES / "operator.yaml").read_text())
    rules: list[dict[str, Any]] = next(d for d in documents if d["kind"] == "Role")["rules"]
    return rules
