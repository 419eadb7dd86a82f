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
AUTHORITY_VALID = timedelta(days=20 * 365)
RENEW = timedelta(days=60)
SKEW = timedelta(days=1)
_AUTHORITY_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rop-server management")])


class ManagementTls:
    """The server context of `folder` (`ca.pem`, `cert.pem`, `key.pem`), kept valid while it is in use.

    Files that an administrator put there are used as they are until they end; ours are renewed long before, under
    the same CA, so that those who trust `ca.pem` notice nothing.
    """

    def __init__(self, folder: Path, host: str, now: float) -> None:
        """`now` in epoch seconds, here and below."""
        self._folder, self._host = folder, host
        self._presented = b""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.keep(now)

    def keep(self, now: float) -> bool:
        """Renew when due and present what is in the folder from the next handshake on; True when that changed."""
        certificate, key = self._folder / "cert.pem", self._folder / "key.pem"
        if not _usable(certificate, key, datetime.fromtimestamp(now, UTC)):
            _issue(self._folder, self._host, datetime.fromtimestamp(now, UTC))
        found = certificate.read_bytes()
        if found == self._presented:
            return False
        self.context.load_cert_chain(certificate, key)
        self._presented = found
        return True


def _usable(certificate: Path, key: Path, now: datetime) -> bool:
    if not certificate.exists() or not key.exists():
        return False
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    margin = RENEW if found.issuer == _AUTHORITY_NAME else timedelta(0)
    return found.not_valid_after_utc - now > margin


def _issue(folder: Path, host: str, now: datetime) -> None:
    """A new key and certificate, written in the order key, certificate, which stands for both: while it is absent
    or old the next look makes both anew.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "cert.pem").unlink(missing_ok=True)
    ca_key, ca = _authority(folder, now)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    ends = min(now + VALID, ca.not_valid_after_utc)
    leaf = _builder(name, ca.subject, key.public_key(), now, ends)
    leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    leaf = leaf.add_extension(_usage(signs=False), critical=True)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    leaf = leaf.add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
    leaf = leaf.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    atomic.write(folder / "key.pem", _private(key))
    signed = leaf.sign(ca_key, hashes.SHA256())
    atomic.write(folder / "cert.pem", signed.public_bytes(serialization.Encoding.PEM))


def _authority(folder: Path, now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """The CA of this folder; a new one when there is none whose key we have, or it ends before a certificate."""
    certificate, secret = folder / "ca.pem", folder / "ca.key.pem"
    if certificate.exists() and secret.exists():
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        key = serialization.load_pem_private_key(secret.read_bytes(), None)
        fits = key.public_key() == found.public_key() and found.not_valid_after_utc - now > RENEW
        if fits and isinstance(key, ec.EllipticCurvePrivateKey):
            return key, found
    made_key = ec.generate_private_key(ec.SECP256R1())
    public = made_key.public_key()
    builder = _builder(_AUTHORITY_NAME, _AUTHORITY_NAME, public, now, now + AUTHORITY_VALID)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    made = builder.add_extension(_usage(signs=True), critical=True).sign(made_key, hashes.SHA256())
    atomic.write(secret, _private(made_key))
    atomic.write(certificate, made.public_bytes(serialization.Encoding.PEM))
    return made_key, made


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(ends)
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
