"""What the manager of a server may ask about its gateway, and nobody else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOST = "gw.example.net"


def _request(folder: Path, name: str) -> str:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(folder / "k.pem"))
    words = ["openssl", "req", *key, "-subj", "/CN=gateway", "-addext", f"subjectAltName=DNS:{name}"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_a_certificate_for_a_gateway_elsewhere(gateway: Callable[..., Any], tmp_path: Path) -> None:
    """One that has no socket of the server gets its certificate through the manager, for the same names."""
    one = gateway()
    status, told = one.manage("POST", "/gateway/certificate", {"csr": _request(tmp_path, HOST)})
    assert status == 200
    (tmp_path / "chain.pem").write_text(told["chain"])
    words = ["openssl", "verify", "-CAfile", str(one.trusted), "-untrusted", "chain.pem", "chain.pem"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    status, told = one.manage("POST", "/gateway/certificate", {"csr": _request(tmp_path, "rop.example.net")})
    assert (status, told["error"]["symbol"]) == (403, "not_signed")


def test_writes_are_fenced(gateway: Callable[..., Any], tmp_path: Path) -> None:
    one = gateway()
    one.token("wall", "read")
    for method, path, body in (
        ("DELETE", "/gateway/tokens/wall", None),
        ("POST", "/gateway/certificate", {"csr": _request(tmp_path, HOST)}),
    ):
        status, told = one.site.manage(method, f"{path}?fence=0", body, Rop_Manager="contract")
        assert (status, told["error"]["symbol"]) == (409, "fenced")
    assert [each["name"] for each in one.site.manage("GET", "/gateway/tokens")[1]["items"]] == ["wall"]


def test_what_the_gateway_tells(gateway: Callable[..., Any], poll: Callable[..., Any]) -> None:
    one = gateway()
    poll("it reported", lambda: one.site.manage("GET", "/gateway")[1]["present"])
    told = one.site.manage("GET", "/gateway")[1]["status"]
    assert (told["reason"], told["serving"], told["host"]) == ("Ready", True, HOST)
    assert told["playURLPrefix"] == f"rtsps://{HOST}:{one.members['rtspsPort']}"
    serial = told["certificate"]["serial"]
    assert serial == one.status()["certificate"]["serial"]
