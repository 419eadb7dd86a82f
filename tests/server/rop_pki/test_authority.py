"""The certificate profile of pki-and-config 1, read by openssl and used in real TLS handshakes."""

import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rop_pki import Authority, PkiError, create_intermediate, create_root, fingerprint, inspect, key_matches

UID = "95270000000000AB"
OpenSSL = Callable[..., str]


def text_of(openssl: OpenSSL, pem: bytes) -> str:
    return openssl("x509", "-in", "shown.pem", "-noout", "-text", shown=pem)


def extensions(text: str) -> dict[str, str]:
    """Extension name (with `critical`) -> its lines, blanks collapsed."""
    part = text.split("X509v3 extensions:")[1].split("    Signature Algorithm:", maxsplit=1)[0]
    found: dict[str, str] = {}
    name = ""
    for line in part.splitlines():
        if re.match(r" {12}\S", line):
            name, _, rest = line.strip().partition(":")
            name = f"{name}{' critical' if rest.strip() == 'critical' else ''}"
            found[name] = ""
        elif line.strip():
            found[name] = f"{found[name]} {' '.join(line.split())}".strip()
    return found


def test_every_certificate_passes_strict_verification(hierarchy: Any, openssl: OpenSSL, now: datetime) -> None:
    device = hierarchy.authority.device_certificate(UID, 180, now)
    server = hierarchy.authority.server_certificate(90, 30, now)
    at = str(int((now + timedelta(days=10)).timestamp()))
    for name, purpose, made in (("device", "sslclient", device), ("server", "sslserver", server)):
        verified = openssl(
            *("verify", "-x509_strict", "-attime", at, "-purpose", purpose),
            *("-CAfile", "root.pem", "-untrusted", f"{name}.pem", f"{name}.pem"),
            **{"root": hierarchy.root, name: made.chain_pem},
        )
        assert verified.strip() == f"{name}.pem: OK"


def test_root_profile(hierarchy: Any, openssl: OpenSSL) -> None:
    text = text_of(openssl, hierarchy.root)
    assert "Signature Algorithm: ecdsa-with-SHA384" in text
    assert "ASN1 OID: secp384r1" in text
    assert "Version: 3" in text
    found = extensions(text)
    assert found["X509v3 Basic Constraints critical"] == "CA:TRUE"
    assert found["X509v3 Key Usage critical"] == "Certificate Sign, CRL Sign"
    assert (
        found["X509v3 Authority Key Identifier"].removeprefix("keyid:") == found["X509v3 Subject Key Identifier"]
    )
    assert set(found) == {
        "X509v3 Basic Constraints critical",
        "X509v3 Key Usage critical",
        "X509v3 Authority Key Identifier",
        "X509v3 Subject Key Identifier",
    }
    subject = openssl("x509", "-in", "shown.pem", "-noout", "-subject", "-nameopt", "oneline,show_type,-space_eq")
    assert subject.strip() == (
        "subject=C=PRINTABLESTRING:CN, O=UTF8STRING:ORG, OU=UTF8STRING:Department, CN=UTF8STRING:CA ECC Root"
    )
    dates = openssl("asn1parse", "-in", "shown.pem")
    assert re.search(r"GENERALIZEDTIME +:3025\d{10}Z", dates)


def test_intermediate_profile(hierarchy: Any, openssl: OpenSSL) -> None:
    text = text_of(openssl, hierarchy.e1)
    assert "Signature Algorithm: ecdsa-with-SHA384" in text
    assert "ASN1 OID: secp384r1" in text
    assert "Subject: C = CN, O = ORG, OU = Department, CN = CA ECC E1" in text
    found = extensions(text)
    assert found["X509v3 Basic Constraints critical"] == "CA:TRUE, pathlen:0"
    assert found["X509v3 Key Usage critical"] == "Digital Signature, Certificate Sign, CRL Sign"
    assert set(found["X509v3 Extended Key Usage critical"].split(", ")) == {
        "TLS Web Client Authentication",
        "TLS Web Server Authentication",
    }
    assert found["Authority Information Access"] == "CA Issuers - URI:http://rop.example.com/ca.html"
    assert "URI:http://rop.example.com/ca.crl" in found["X509v3 CRL Distribution Points"]
    policies = "Policy: 2.23.140.1.2.1 Policy: 1.3.6.1.4.1.44947.1.2.3.4.5.6.7.8"
    assert found["X509v3 Certificate Policies"] == policies
    facts = inspect(hierarchy.e1)
    assert facts.not_after - facts.not_before == timedelta(days=182_500)


@pytest.mark.parametrize(
    ("kind", "usage", "purposes"),
    [
        (
            "server",
            "Digital Signature, Key Encipherment",
            "TLS Web Server Authentication, TLS Web Client Authentication",
        ),
        ("device", "Digital Signature, Non Repudiation, Key Encipherment", "TLS Web Client Authentication"),
    ],
)
def test_leaf_profile(
    hierarchy: Any, openssl: OpenSSL, now: datetime, kind: str, usage: str, purposes: str
) -> None:
    authority = hierarchy.authority
    made = (
        authority.server_certificate(90, 30, now)
        if kind == "server"
        else authority.device_certificate(UID, 180, now)
    )
    text = text_of(openssl, made.cert_pem)
    assert "Signature Algorithm: ecdsa-with-SHA256" in text
    assert "ASN1 OID: prime256v1" in text
    found = extensions(text)
    assert found["X509v3 Basic Constraints"] == "CA:FALSE"
    assert found["X509v3 Key Usage critical"] == usage
    assert found["X509v3 Extended Key Usage"] == purposes
    assert found["Authority Information Access"] == "CA Issuers - URI:http://rop.example.com/ca.html"
    assert found["X509v3 Certificate Policies"].endswith("CPS: http://cps.rop.example.com/")
    e1 = extensions(text_of(openssl, hierarchy.e1))
    shown = found["X509v3 Authority Key Identifier"].removeprefix("keyid:")
    assert shown == e1["X509v3 Subject Key Identifier"]
    assert shown.replace(":", "").lower() == made.issuer_key_id == authority.issuer_key_id
    assert ("X509v3 Subject Alternative Name" in found) == (kind == "server")
    shown_as = ("-nameopt", "oneline,show_type,-space_eq")
    subject = openssl("x509", "-in", "leaf.pem", "-noout", "-subject", *shown_as, leaf=made.cert_pem)
    name = UID if kind == "device" else "rop.example.com"
    assert subject.strip() == f"subject=CN=UTF8STRING:{name}"


def test_validity(hierarchy: Any, now: datetime) -> None:
    whole = now.replace(microsecond=0)
    server = inspect(hierarchy.authority.server_certificate(90, 30, now).cert_pem)
    assert (server.not_before, server.not_after) == (whole - timedelta(days=30), whole + timedelta(days=90))
    device = hierarchy.authority.device_certificate(UID, 180, now)
    facts = inspect(device.cert_pem)
    assert (facts.not_before, facts.not_after) == (whole, whole + timedelta(days=180))
    assert (device.not_before, device.not_after, device.serial) == (
        facts.not_before,
        facts.not_after,
        facts.serial,
    )
    assert facts.subject_cn == UID


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_address_host_is_in_the_certificate_as_address_and_as_name(
    hierarchy: Any, openssl: OpenSSL, now: datetime, host: str
) -> None:
    authority = Authority(hierarchy.root, hierarchy.e1, hierarchy.e1_key, host)
    text = text_of(openssl, authority.server_certificate(90, 30, now).cert_pem)
    names = extensions(text)["X509v3 Subject Alternative Name"]
    assert f"DNS:{host}" in names
    assert "IP Address:" in names
    assert (
        openssl("x509", "-in", "shown.pem", "-noout", "-checkip", host).strip().endswith("does match certificate")
    )


def test_host_longer_than_a_common_name(hierarchy: Any, openssl: OpenSSL, now: datetime) -> None:
    host = ".".join(["a" * 60, "b" * 60, "example"])
    authority = Authority(hierarchy.root, hierarchy.e1, hierarchy.e1_key, host)
    made = authority.server_certificate(90, 30, now)
    assert f"DNS:{host}" in text_of(openssl, made.cert_pem)


def test_serials_are_different_positive_and_at_most_20_octets(hierarchy: Any, now: datetime) -> None:
    serials = {hierarchy.authority.device_certificate(UID, 1, now).serial for _ in range(300)}
    assert len(serials) == 300
    for serial in serials:
        number = int(serial, 16)
        assert number > 0
        assert number.bit_length() <= 159


def test_chain_and_key_texts(hierarchy: Any, now: datetime) -> None:
    made = hierarchy.authority.device_certificate(UID, 180, now)
    leaf, _, rest = made.chain_pem.partition(b"\n\n")
    assert leaf + b"\n" == made.cert_pem
    assert rest == hierarchy.e1
    assert made.key_pem.startswith(b"-----BEGIN EC PRIVATE KEY-----\n")
    for pem in (hierarchy.root, hierarchy.e1, made.chain_pem):
        assert pem.endswith(b"-----END CERTIFICATE-----\n")
    assert key_matches(made.cert_pem, made.key_pem)
    assert not key_matches(made.cert_pem, hierarchy.e1_key)


def test_key_does_not_show_in_repr(hierarchy: Any, now: datetime) -> None:
    made = hierarchy.authority.device_certificate(UID, 180, now)
    secret = made.key_pem.splitlines()[1].decode()
    assert secret not in repr(made)
    assert "PRIVATE" not in repr(made)


def test_fingerprint_is_of_the_der(hierarchy: Any, openssl: OpenSSL) -> None:
    shown = openssl("x509", "-in", "root.pem", "-noout", "-fingerprint", "-sha256", root=hierarchy.root)
    assert hierarchy.authority.root_fingerprint == shown.strip().split("=")[1].replace(":", "").lower()
    assert fingerprint(hierarchy.root) == hierarchy.authority.root_fingerprint


def test_leaves_never_outlive_the_l2_ca(now: datetime) -> None:
    root_key, root = create_root(now)
    e1_key, e1 = create_intermediate(root_key, root, "h.example", now)
    late = now + timedelta(days=182_400)
    made = Authority(root, e1, e1_key, "h.example").device_certificate(UID, 180, late)
    assert made.not_after == inspect(e1).not_after


def test_foreign_keys_are_refused(hierarchy: Any, now: datetime) -> None:
    other_key, other_root = create_root(now)
    with pytest.raises(PkiError, match="key"):
        Authority(hierarchy.root, hierarchy.e1, other_key, "h.example")
    with pytest.raises(PkiError, match="root"):
        Authority(other_root, hierarchy.e1, hierarchy.e1_key, "h.example")
    with pytest.raises(PkiError, match="root"):
        create_intermediate(other_key, hierarchy.root, "h.example", now)


@pytest.mark.parametrize(
    "broken", [b"", b"no pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_unreadable_input_is_a_pki_error_without_the_input(hierarchy: Any, broken: bytes) -> None:
    with pytest.raises(PkiError):
        inspect(broken)
    mangled = hierarchy.e1_key.replace(b"\n", b"\nAAAA", 1)
    with pytest.raises(PkiError) as failure:
        Authority(hierarchy.root, hierarchy.e1, mangled, "h.example")
    assert mangled.splitlines()[1].decode()[:16] not in str(failure.value)


def test_keys_with_a_parameters_block_are_read(openssl: OpenSSL, tmp_path: Path) -> None:
    """`openssl ecparam -genkey` writes the curve before the key."""
    openssl("ecparam", "-name", "secp384r1", "-genkey", "-out", "k.pem")
    openssl("req", "-x509", "-new", "-key", "k.pem", "-subj", "/CN=x", "-days", "5", "-out", "c.pem")
    pem = (tmp_path / "k.pem").read_bytes()
    assert pem.startswith(b"-----BEGIN EC PARAMETERS-----")
    assert key_matches((tmp_path / "c.pem").read_bytes(), pem)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> ssl.SSLObject:
    """A TLS handshake in memory; the server's side of it."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(down, up, server_hostname=host)
    right = server.wrap_bio(up, down, server_side=True)
    sides = [left, right]
    for _ in range(20):
        for side in list(sides):
            try:
                side.do_handshake()
                sides.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not sides:
            return right
    raise AssertionError("the handshake does not end")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_mutual_tls_with_an_address_and_strict_checks(
    hierarchy: Any, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority = Authority(hierarchy.root, hierarchy.e1, hierarchy.e1_key, "127.0.0.1")
    now = datetime.now(UTC)
    contexts = []
    for name, made, protocol in (
        ("server", authority.server_certificate(90, 30, now), ssl.PROTOCOL_TLS_SERVER),
        ("device", authority.device_certificate(UID, 180, now), ssl.PROTOCOL_TLS_CLIENT),
    ):
        context = ssl.SSLContext(protocol)
        context.minimum_version = context.maximum_version = version
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_verify_locations(cadata=hierarchy.root.decode())
        (tmp_path / f"{name}.pem").write_bytes(made.chain_pem + made.key_pem)
        context.load_cert_chain(tmp_path / f"{name}.pem")
        contexts.append(context)
    peer = shake_hands(contexts[0], contexts[1], "127.0.0.1").getpeercert()
    assert peer is not None
    assert peer["subject"] == ((("commonName", UID),),)
