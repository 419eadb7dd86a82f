"""A namespace of its own and an API client as cluster-admin for each test."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rop_operator.adapters.kube_api import KubeApi, load_credentials

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
