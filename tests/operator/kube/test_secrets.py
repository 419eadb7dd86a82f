"""KubeSecrets on a real API server, with an account that may only `get` Secrets."""

import asyncio
from typing import Any

import pytest

from rop_operator.adapters.kube_api import KubeApi, load_credentials
from rop_operator.adapters.kube_secrets import KubeSecrets
from rop_operator.ports import PortError


async def reason(secrets: KubeSecrets, namespace: str, name: str, key: str) -> str:
    with pytest.raises(PortError) as refused:
        await secrets.read(namespace, name, key)
    assert "hunter2" not in refused.value.message
    return refused.value.reason


async def test_values_and_reasons(control_plane: Any, api: KubeApi, namespace: str) -> None:
    control_plane.secret(namespace, "good", {"token": b"hunter2\x00\xff"})
    control_plane.secret(namespace, "private", {"token": b"hunter2"}, referable=False)
    secrets = KubeSecrets(api)
    assert await secrets.read(namespace, "good", "token") == b"hunter2\x00\xff"
    assert await reason(secrets, namespace, "good", "other") == "SecretKeyMissing"
    assert await reason(secrets, namespace, "missing", "token") == "SecretNotFound"
    assert await reason(secrets, namespace, "private", "token") == "SecretNotReferable"


async def test_an_account_without_rights_is_told_what_it_needs(control_plane: Any, namespace: str) -> None:
    control_plane.secret(namespace, "good", {"token": b"hunter2"})
    kubeconfig = control_plane.account(namespace, "nobody", [])
    api = KubeApi(lambda: load_credentials(str(kubeconfig)))
    assert await reason(KubeSecrets(api), namespace, "good", "token") == "SecretNotReferable"
    await api.close()


async def test_a_change_is_noticed_with_the_right_to_get_alone(control_plane: Any, namespace: str) -> None:
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    kubeconfig = control_plane.account(namespace, "getter", rules)
    api = KubeApi(lambda: load_credentials(str(kubeconfig)))
    changes: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    secrets = KubeSecrets(api, lambda *which: changes.put_nowait(which))
    assert await reason(secrets, namespace, "late", "token") == "SecretNotFound"
    stop = asyncio.Event()
    watching = asyncio.create_task(secrets.watch(stop, interval=0.1, useless_interval=0.05))
    async with asyncio.timeout(20):
        control_plane.secret(namespace, "late", {"token": b"one"})
        assert await changes.get() == (namespace, "late")
        assert await secrets.read(namespace, "late", "token") == b"one"
        control_plane.secret(namespace, "late", {"token": b"two"})
        assert await changes.get() == (namespace, "late")
        assert await secrets.read(namespace, "late", "token") == b"two"
    stop.set()
    await watching
    await api.close()
