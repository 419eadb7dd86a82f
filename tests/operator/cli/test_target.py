"""Which host or cluster a command works on."""

from pathlib import Path

import pytest

from rop_operator.cli import target
from rop_operator.cli.target import Target


def test_a_host_unless_something_says_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = tmp_path / "token"
    monkeypatch.setattr(target, "POD_ACCOUNT", account)
    assert not Target().on_cluster
    assert Target(kubeconfig="file").on_cluster
    assert Target(context="lab").on_cluster
    account.touch()
    assert Target().on_cluster, "in a pod it is the pod's cluster"
    assert not Target(state="/var/lib/rop/agent").on_cluster
