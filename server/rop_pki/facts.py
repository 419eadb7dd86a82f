"""What a certificate says, and whether a key belongs to it."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID


class PkiError(Exception):
    """A key or certificate cannot be used; the message names what is wrong, never a secret."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """`serial` is upper-case hex, `issuer_key_id` lower-case hex of the authority key id (None: absent)."""

    subject_cn: str
    serial: str
    not_before: datetime
    not_after: datetime
    issuer_key_id: str | None


def load_certificate(pem: bytes) -> x509.Certificate:
    """The first certificate of a PEM text."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as failure:
        raise PkiError(f"not a PEM certificate: {failure}") from None


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """An unencrypted EC key."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise PkiError("not an unencrypted PEM private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError("not an EC private key")
    return key


def serial_text(number: int) -> str:
    """A serial as OpenSSL writes it: upper-case hex of whole bytes."""
    text = f"{number:X}"
    return text if len(text) % 2 == 0 else f"0{text}"


def describe(certificate: x509.Certificate) -> CertificateFacts:
    """Facts of a parsed certificate."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        authority = None
    key_id = authority.key_identifier if authority is not None else None
    return CertificateFacts(
        str(names[0].value) if names else "",
        serial_text(certificate.serial_number),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        key_id.hex() if key_id else None,
    )


def inspect(pem: bytes) -> CertificateFacts:
    """Facts of the first certificate of a PEM text. Raises PkiError."""
    return describe(load_certificate(pem))


def fingerprint(pem: bytes) -> str:
    """Lower-case hex SHA-256 of the certificate's DER."""
    return hashlib.sha256(load_certificate(pem).public_bytes(Encoding.DER)).hexdigest()


def key_matches(cert_pem: bytes, key_pem: bytes) -> bool:
    """Whether the private key belongs to the certificate."""
    return load_certificate(cert_pem).public_key() == load_key(key_pem).public_key()
