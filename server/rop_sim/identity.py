"""Who a camera is at its server: root, certificate, codes, keys. Kept whole over restarts."""

import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509

from rop_sim import files

_FILE = "identity.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything a hand-over and a registration gave. Ports are the server's.

    `address`: where the server is connected to, None: what the name `host` resolves to.
    """

    host: str
    get_ca_port: int
    get_cert_port: int
    register_port: int
    ca: str
    cert: str
    key: str = field(repr=False)
    code: str = field(repr=False)
    access_key: str | None = None
    secret: str | None = field(default=None, repr=False)
    keep_alive_port: int = 0
    signaling_port: int = 0
    heartbeat_interval: int = 20
    address: str | None = None

    @property
    def reach(self) -> str:
        """What to connect to; certificates are compared with `host` all the same."""
        return self.address or self.host

    @property
    def registered(self) -> bool:
        """Whether 61002 has answered."""
        return self.access_key is not None

    def certificate_life(self) -> tuple[float, float]:
        """Not before and not after of the certificate, epoch seconds."""
        leaf = x509.load_pem_x509_certificate(self.cert.encode())
        return leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()


class IdentityStore:
    """The identity in a folder. `identity.json` is the truth; the PEM files beside it are for TLS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self) -> Identity | None:
        """The stored identity."""
        raw: Mapping[str, Any] | None = files.read_json(self.folder / _FILE)
        return None if raw is None else Identity(**raw)

    def save(self, identity: Identity) -> None:
        """Store it; the JSON file goes last."""
        files.write(self.folder / "ca.pem", identity.ca.encode())
        files.write(self.folder / "cert.pem", identity.cert.encode())
        files.write(self.folder / "key.pem", identity.key.encode())
        files.write_json(self.folder / _FILE, asdict(identity), 0o600)

    def forget(self) -> None:
        """Factory reset."""
        for name in (_FILE, "key.pem", "cert.pem", "ca.pem"):
            (self.folder / name).unlink(missing_ok=True)

    def client_context(self, identity: Identity) -> ssl.SSLContext:
        """Mutual TLS with leaf and L2 CA, trusting the stored root alone."""
        self.repair(identity)
        context = trusting(identity.ca)
        context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
        return context

    def repair(self, identity: Identity) -> None:
        """Rewrite PEM files that a crash left behind the JSON file."""
        for name, text in (("cert.pem", identity.cert), ("key.pem", identity.key), ("ca.pem", identity.ca)):
            path = self.folder / name
            if not path.exists() or path.read_text() != text:
                files.write(path, text.encode())


def trusting(ca_pem: str) -> ssl.SSLContext:
    """A client context that verifies against one root. The host is compared as text by `check_host`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=ca_pem)
    return context


def trusting_nobody() -> ssl.SSLContext:
    """For the download of the root, before anything can be trusted; its hash is checked instead."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def check_host(host: str, peer: Mapping[str, Any] | None) -> None:
    """Compare the host as text with the certificate's CN and DNS SANs (device-protocol 2.1)."""
    told = peer or {}
    names = [value for kind, value in told.get("subjectAltName", ()) if kind == "DNS"]
    names += [v for group in told.get("subject", ()) for k, v in group if k == "commonName"]
    if host not in names:
        raise ssl.SSLCertVerificationError(f"the server's certificate is not for {host}")
