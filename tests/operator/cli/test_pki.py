"""`ropctl pki` and `ropctl camera` with a real agent and its server."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from free_ports import free_ports

PORT_MEMBERS = (
    "getCAHttps",
    "getCertHttps",
    "registerHttps",
    "keepAliveTCP",
    "signalingTLS",
    "streamTLS",
    "streamTCP",
    "clientRtsp",
    "clientHttp",
)
Run = Callable[..., Any]


def test_the_authority_of_a_server_is_told(on_host: Run, tmp_path: Path, until: Run, uid: str) -> None:
    assert "no RopServer" in on_host("pki", "status", "--server", "home", expect=1).stderr
    ports = dict(zip(PORT_MEMBERS, free_ports(len(PORT_MEMBERS)), strict=True))
    spec = {"host": "127.0.0.1", "ports": ports, "acknowledge": [{"edge": "NoBackup", "value": "home"}]}
    told = {"apiVersion": "rop.dev/v1alpha1", "kind": "RopServer", "metadata": {"name": "home"}, "spec": spec}
    on_host("apply", "-f", "-", stdin=yaml.safe_dump(told))
    until("the server answers", lambda: on_host("pki", "status", expect=None).returncode == 0)
    lines = on_host("pki", "status").stdout.splitlines()
    assert lines[0].split() == ["WHAT", "NAME", "ENDS", "NOTE"]
    assert [line.split()[0] for line in lines[1:4]] == ["root", "intermediate", "server"]
    assert lines[5].split() == ["ITEM", "GENERATION", "ROTATION", "DEVICES"]
    assert [line.split() for line in lines[6:]] == [
        [item, "1", "none"] for item in ("Root", "DeviceKey", "SignKey", "Intermediate", "ServerCertificate")
    ]
    status = json.loads(on_host("pki", "status", "-o", "json").stdout)
    root = tmp_path / "root.pem"
    root.write_text(on_host("pki", "export-root").stdout)
    (kept,) = tmp_path.rglob("ECC/Root/ca.pem")
    assert root.read_bytes() == kept.read_bytes()
    shown = subprocess.run(
        ["openssl", "x509", "-in", str(root), "-noout", "-fingerprint", "-sha256"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.strip().rpartition("=")[2].replace(":", "").lower() == status["root"]["sha256"]
    census = json.loads(on_host("pki", "census", "-o", "json").stdout)
    assert census["devices"] == 0
    assert "all" in on_host("pki", "census").stdout
    refused = on_host("camera", "approve-renewal", uid, "--for", "2h", expect=1).stderr
    assert uid in refused and "Traceback" not in refused


@pytest.mark.parametrize("within", ["two hours", "2", ""])
def test_a_bad_duration_is_a_usage_error(on_host: Run, within: str) -> None:
    said = on_host("camera", "approve-renewal", "95270001ABCDEFGH", "--for", within, expect=64).stderr
    assert "2h" in said


@pytest.mark.parametrize("command", [("pki",), ("pki", "census"), ("camera",), ("camera", "approve-renewal")])
def test_help_has_an_example(ropctl: Run, command: tuple[str, ...]) -> None:
    assert "Example" in ropctl(*command, "--help").stdout
