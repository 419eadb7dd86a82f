"""A certificate chain and its key: what they say, and whether clients could use them."""

from __future__ import annotations

import fnmatch
import hashlib
import ipaddress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

MAX_PEM = 256 * 1024
MIN_RSA_BITS = 2048


@dataclass(frozen=True)
class Pair:
    """Chain and key as PEM. The key never shows in the repr."""

    chain_pem: bytes
    key_pem: bytes = field(repr=False)

    @cached_property
    def chain(self) -> list[x509.Certificate]:
        """The certificates, leaf first. Raises ValueError when there is none."""
        return x509.load_pem_x509_certificates(self.chain_pem)

    @property
    def serial(self) -> str:
        """Serial of the leaf, upper-case hex."""
        return f"{self.chain[0].serial_number:X}"

    @property
    def not_after(self) -> datetime:
        """End of the leaf."""
        return self.chain[0].not_valid_after_utc

    @property
    def not_before(self) -> datetime:
        """Begin of the leaf."""
        return self.chain[0].not_valid_before_utc

    @property
    def names(self) -> list[str]:
        """Host names and addresses of the leaf."""
        try:
            told = self.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return []
        addresses = [str(each) for each in told.get_values_for_type(x509.IPAddress)]
        return [*told.get_values_for_type(x509.DNSName), *addresses]

    @property
    def digest(self) -> str:
        """Tells one pair of files from another."""
        return hashlib.sha256(self.chain_pem + b"\0" + self.key_pem).hexdigest()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a pair cannot be used: a word and a text for people."""

    reason: str
    message: str


def examine(pair: Pair, host: str, now: datetime) -> Problem | None:
    """The first thing that is wrong with a pair for this host, None when it can be served."""
    if max(len(pair.chain_pem), len(pair.key_pem)) > MAX_PEM:
        return Problem("ChainInvalid", f"chain or key is longer than {MAX_PEM} bytes")
    try:
        chain = pair.chain
    except ValueError:
        return Problem("ChainInvalid", "the chain holds no PEM certificate")
    return _key(pair, chain[0]) or _order(chain) or _purpose(chain[0]) or _names(pair, host) or _dates(pair, now)


def _key(pair: Pair, leaf: x509.Certificate) -> Problem | None:
    try:
        key = load_pem_private_key(pair.key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return Problem("KeyUnusable", "the key is not an unencrypted PEM key")
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            return Problem("KeyUnusable", f"an RSA key needs {MIN_RSA_BITS} bits, this one has {key.key_size}")
    elif not isinstance(key, ec.EllipticCurvePrivateKey):
        return Problem("KeyUnusable", "the key is neither EC nor RSA")
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        return Problem("KeyMismatch", "the key does not belong to the first certificate of the chain")
    return None


def _order(chain: list[x509.Certificate]) -> Problem | None:
    for number, (certificate, issuer) in enumerate(pairwise(chain), 1):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            text = f"certificate {number} of the chain is not issued by the one after it"
            return Problem("ChainInvalid", text)
    return None


def _purpose(leaf: x509.Certificate) -> Problem | None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    if ExtendedKeyUsageOID.SERVER_AUTH in usage:
        return None
    return Problem("ChainInvalid", "the certificate is not for servers (extended key usage)")


def _names(pair: Pair, host: str) -> Problem | None:
    if any(_covers(name, host) for name in pair.names):
        return None
    told = ", ".join(pair.names[:5]) or "nothing"
    return Problem("NameMismatch", f"the certificate names {told}, not {host}")


def _covers(name: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(host)
    except ValueError:
        pass
    name, host = name.lower(), host.lower()
    if not name.startswith("*."):
        return name == host
    return name.count(".") == host.count(".") and fnmatch.fnmatchcase(host, name)


def _dates(pair: Pair, now: datetime) -> Problem | None:
    if now < pair.not_before:
        return Problem("NotYetValid", f"the certificate begins on {pair.not_before:%Y-%m-%d %H:%M} UTC")
    if now >= pair.not_after:
        return Problem("Expired", f"the certificate ended on {pair.not_after:%Y-%m-%d %H:%M} UTC")
    return None
