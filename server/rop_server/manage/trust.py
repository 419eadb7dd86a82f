"""Key and certificates of the management interface over TCP: a trust domain of its own, no device chain in it."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rop_data import atomic

VALID = timedelta(days=825)
RENEW = timedelta(days=60)
SKEW = timedelta(days=1)


def tls_context(folder: Path, host: str, now: float) -> ssl.SSLContext:
    """The server context of `folder` (`ca.pem`, `cert.pem`, `key.pem`), made or renewed when needed.

    Files that an administrator put there are used as they are while they are valid. `now` in epoch seconds.
    """
    certificate, key = folder / "cert.pem", folder / "key.pem"
    if not _usable(certificate, key, datetime.fromtimestamp(now, UTC)):
        _issue(folder, host, datetime.fromtimestamp(now, UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def _usable(certificate: Path, key: Path, now: datetime) -> bool:
    if not certificate.exists() or not key.exists():
        return False
    ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    return ends - now > RENEW


def _issue(folder: Path, host: str, now: datetime) -> None:
    """A new CA each time and a certificate under it; the CA's key is thrown away, so nothing else can be signed.

    Written in the order ca, key, certificate: `_usable` looks at the last one, so a crash between is made good.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "cert.pem").unlink(missing_ok=True)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rop-server management")])
    authority = _builder(ca_name, ca_name, ca_key.public_key(), now)
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    authority = authority.add_extension(_usage(signs=True), critical=True)
    ca = authority.sign(ca_key, hashes.SHA256())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    leaf = _builder(name, ca_name, key.public_key(), now)
    leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    leaf = leaf.add_extension(_usage(signs=False), critical=True)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    leaf = leaf.add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
    leaf = leaf.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    atomic.write(folder / "ca.pem", ca.public_bytes(pem))
    atomic.write(folder / "key.pem", secret)
    atomic.write(folder / "cert.pem", leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    try:
        names.append(x509.IPAddress(ipaddress.ip_address(host)))
    except ValueError:
        names.append(x509.DNSName(host))
    return list(dict.fromkeys(names))
