"""Documents of gateways, pairs of certificates as people get them, short folders for sockets."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rop_gateway.config import Gateway, parse
from rop_gateway.pair import Pair

HOST = "gw.example.net"
DAY = datetime.timedelta(days=1)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path is short enough for sockets, which pytest's own is not."""
    made = Path(tempfile.mkdtemp(prefix="rop"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def document_text(**members: Any) -> str:
    """A document with these members over the least that is needed."""
    import json

    told = {"host": HOST, "directory": "/var/lib/rop-gateway", "sockets": "/var/lib/rop/run/gateway"}
    return json.dumps({**told, **members})


@pytest.fixture
def text_of() -> Callable[..., str]:
    """Text of a document."""
    return document_text


@pytest.fixture
def document() -> Callable[..., Gateway]:
    """A parsed document."""
    return lambda **members: parse(document_text(**members))


class TestAuthority:
    """A CA as any other: root, intermediate, leaves."""

    __test__ = False

    def __init__(self) -> None:
        self.root_key, self.root = self._make("root", None, ca=True)
        self.key, self.intermediate = self._make("intermediate", (self.root_key, self.root), ca=True)

    def _make(
        self,
        name: str,
        issuer: tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None,
        *,
        ca: bool = False,
        names: tuple[str, ...] = (),
        days: tuple[float, float] = (-1, 90),
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    ) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder(issuer[1].subject if issuer else subject, subject, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + days[0] * DAY)
            .not_valid_after(now + days[1] * DAY)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
        )
        if not ca:
            told = [_general(each) for each in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(told), critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return key, builder.sign(issuer[0] if issuer else key, hashes.SHA256())

    @property
    def root_pem(self) -> bytes:
        """What a client trusts."""
        return self.root.public_bytes(Encoding.PEM)

    def pair(
        self, *names: str, common_name: str | None = None, days: tuple[float, float] = (-1, 90), **words: Any
    ) -> Pair:
        """Leaf and intermediate, and the key."""
        issuer = (self.key, self.intermediate)
        told = names or (HOST,)
        key, leaf = self._make(common_name or told[0], issuer, names=told, days=days, **words)
        chain = leaf.public_bytes(Encoding.PEM) + self.intermediate.public_bytes(Encoding.PEM)
        return Pair(chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.fixture(scope="session")
def authority() -> TestAuthority:
    """One CA for all."""
    return TestAuthority()
