"""Certificates of gateways: signed for a request, for the names that are allowed, and good for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rop_pki import PkiError

HOST = "gw.example.net"
OpenSSL = Callable[..., str]


@pytest.fixture
def request_for(openssl: OpenSSL, tmp_path: Path) -> Callable[..., bytes]:
    """A request made by openssl."""

    def make(*names: str, key: str = "ec:P-256") -> bytes:
        kind, _, detail = key.partition(":")
        option = f"ec_paramgen_curve:{detail}" if kind == "ec" else f"rsa_keygen_bits:{detail}"
        extension = ("-addext", f"subjectAltName={','.join(names)}") if names else ()
        words = ("-newkey", kind, "-pkeyopt", option, "-nodes", "-keyout", str(tmp_path / "k.pem"))
        return openssl("req", *words, "-subj", "/CN=anything", *extension).encode()

    return make


def test_clients_verify_it_and_it_is_no_client(
    hierarchy: Any, openssl: OpenSSL, now: datetime, request_for: Callable[..., bytes]
) -> None:
    request = request_for(f"DNS:{HOST}", "IP:192.0.2.7")
    chain = hierarchy.authority.gateway_certificate(request, [HOST, "192.0.2.7"], 90, now)
    at = str(int((now + timedelta(days=89)).timestamp()))
    words = ("verify", "-x509_strict", "-attime", at, "-CAfile", "root.pem", "-untrusted", "gw.pem")
    files = {"root": hierarchy.root, "gw": chain}
    for name in (("-verify_hostname", HOST), ("-verify_ip", "192.0.2.7")):
        assert openssl(*words, *name, "-purpose", "sslserver", "gw.pem", **files).strip() == "gw.pem: OK"
    text = openssl("x509", "-in", "gw.pem", "-noout", "-text", gw=chain)
    assert "TLS Web Server Authentication" in text
    assert "TLS Web Client Authentication" not in text  # a camera's ports take client certificates of this root
    assert "CN = anything" not in text


@pytest.mark.parametrize(
    ("names", "key", "words"),
    [
        (("DNS:rop.example.net",), "ec:P-256", "rop.example.net"),
        ((f"DNS:{HOST}", "DNS:evil.example.net"), "ec:P-256", "evil.example.net"),
        ((f"DNS:{HOST}", "email:a@example.net"), "ec:P-256", "no name"),
        (("DNS:*.example.net",), "ec:P-256", "not a gateway"),
        ((), "ec:P-256", "no subject alternative names"),
        ((f"DNS:{HOST}",), "rsa:2048", "EC key"),
        ((f"DNS:{HOST}",), "ec:P-224", "P-256"),
    ],
)
def test_what_is_not_signed(
    hierarchy: Any,
    now: datetime,
    request_for: Callable[..., bytes],
    names: tuple[str, ...],
    key: str,
    words: str,
) -> None:
    with pytest.raises(PkiError, match=words):
        hierarchy.authority.gateway_certificate(request_for(*names, key=key), [HOST], 90, now)


def test_a_request_that_somebody_changed(hierarchy: Any, now: datetime, request_for: Callable[..., bytes]) -> None:
    for broken in (b"", b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"):
        with pytest.raises(PkiError, match="not a PEM"):
            hierarchy.authority.gateway_certificate(broken, [HOST], 90, now)
    lines = request_for(f"DNS:{HOST}").splitlines()
    lines[-2] = lines[-2][:-12] + b"AAAA" + lines[-2][-8:]
    with pytest.raises(PkiError):
        hierarchy.authority.gateway_certificate(b"\n".join(lines) + b"\n", [HOST], 90, now)
