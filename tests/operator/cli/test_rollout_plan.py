"""`ropctl rollout plan`, before and after a rollout is applied."""

import json
from collections.abc import Callable
from typing import Any

import yaml

from free_ports import free_ports

Run = Callable[..., Any]
PORTS = (
    *("getCAHttps", "getCertHttps", "registerHttps", "keepAliveTCP", "signalingTLS"),
    *("streamTLS", "streamTCP", "clientRtsp", "clientHttp"),
)


def document(kind: str, name: str, spec: dict[str, Any], **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "rop.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def test_a_rollout_is_seen_before_it_is_applied(on_host: Run) -> None:
    home = {"serverRef": {"name": "home"}}
    server = {"host": "127.0.0.1", "ports": dict(zip(PORTS, free_ports(len(PORTS)), strict=True))}
    server["acknowledge"] = [{"edge": "NoBackup", "value": "home"}]
    image = {"sha256": "ab" * 32, "version": "v3.1.0.2000", "models": ["E1"], "source": {"upload": {}}}
    cameras = [
        document("Camera", f"yard-{n}", {**home, "uid": f"95270001000000Y{n}"}, place="yard") for n in range(4)
    ]
    waves = [{"name": "canary", "count": 1, "soak": "10m"}, {"name": "rest", "approval": True}]
    selector = {"matchLabels": {"place": "yard"}}
    rollout = document(
        "FirmwareRollout", "spring", {**home, "imageRef": {"name": "e1"}, "selector": selector, "waves": waves}
    )
    on_host("apply", "--wait", "-f", "-", stdin=yaml.safe_dump(document("RopServer", "home", server)))
    on_host("apply", "-f", "-", stdin=yaml.safe_dump_all(cameras))
    without = on_host("rollout", "plan", "-f", "-", stdin=yaml.safe_dump(rollout), expect=1)
    assert "ImageNotFound" in without.stdout
    on_host("apply", "-f", "-", stdin=yaml.safe_dump(document("FirmwareImage", "e1", image)))
    planned = on_host("rollout", "plan", "-f", "-", stdin=yaml.safe_dump(rollout)).stdout
    assert "spring: e1, version v3.1.0.2000" in planned
    assert "by spec.approvedWaves" in planned
    assert "waits: DeviceOffline: yard-0, yard-1, yard-2, yard-3; it is tried once it is back" in planned
    assert "FirmwareRollout" not in on_host("get", "firmwarerollouts").stdout
    on_host("apply", "-f", "-", stdin=yaml.safe_dump(rollout))
    told = json.loads(on_host("rollout", "plan", "spring", "-o", "json").stdout)
    assert [len(wave["cameras"]) for wave in told["waves"]] == [1, 3]
    assert told["reboots"] == 4


def test_what_cannot_be_planned_is_said(on_host: Run) -> None:
    assert "-f FILE" in on_host("rollout", "plan", expect=64).stderr
    assert "NotFound" in on_host("rollout", "plan", "none", expect=1).stderr
    assert "holds 0" in on_host("rollout", "plan", "-f", "-", stdin="", expect=64).stderr
