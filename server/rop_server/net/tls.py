"""TLS contexts of the device ports, and who the peer is.

Source: ROP v1.0 wire specification, device-protocol 2, 2.3 and 5 (TLS), discrepancies C5.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from cryptography import x509

from rop_pki.facts import describe
from rop_server.core.connection import Certificate
from rop_wire.auth import valid_uid


class TlsContexts:
    """One context for services without, one for services with client certificates.

    `renew` changes the live contexts: the next handshake has the new chain, open sessions go on. `roots` are the
    anchors for client certificates, PEM.
    """

    def __init__(self, chain_pem: bytes, key_pem: bytes, roots: Sequence[bytes]) -> None:
        self.plain = _context()
        self.mutual = _context()
        self._roots: tuple[bytes, ...] = ()
        self._presented = (chain_pem, key_pem)
        self.renew(chain_pem, key_pem)
        self.trust(roots)

    def renew(self, chain_pem: bytes, key_pem: bytes) -> None:
        """Present this server certificate (leaf and L2 CA) from the next handshake on."""
        self._presented = (chain_pem, key_pem)
        for context in (self.plain, self.mutual):
            _present(context, chain_pem, key_pem)

    def trust(self, roots: Sequence[bytes]) -> None:
        """Accept client certificates under these roots from the next handshake on.

        No anchor can be taken out of a context, and a session of before could be resumed in it: without one of
        those of before there is a fresh context.
        """
        if set(self._roots) - set(roots) or not self._roots:
            self.mutual = _context()
            self.mutual.verify_mode = ssl.CERT_REQUIRED
            _present(self.mutual, *self._presented)
        self._roots = tuple(roots)
        for root in roots:
            self.mutual.load_verify_locations(cadata=root.decode("ascii"))


def _present(context: ssl.SSLContext, chain_pem: bytes, key_pem: bytes) -> None:
    # The ssl module takes file names only; the key must not touch a disk for that.
    with _MemoryFile(chain_pem) as chain, _MemoryFile(key_pem) as key:
        context.load_cert_chain(chain, key)


class _MemoryFile:
    """Bytes under a name that only this process can open."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __enter__(self) -> str:
        self._fd = os.memfd_create("rop", os.MFD_CLOEXEC)
        os.write(self._fd, self._content)
        return f"/proc/self/fd/{self._fd}"

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)


HANDSHAKING: ContextVar[socket.socket | None] = ContextVar("handshaking", default=None)
"""The socket of the TLS handshake that goes on in the present context."""


class _TlsConnection(ssl.SSLObject):
    """Sends the alert of a failed handshake, which the event loop would drop.

    A device without a (valid) certificate is told so. Source: device-protocol 2.3.
    """

    _outgoing: ssl.MemoryBIO

    @classmethod
    def _create(cls, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **rest: Any) -> _TlsConnection:
        made: _TlsConnection = super()._create(incoming, outgoing, **rest)  # type: ignore[misc]
        made._outgoing = outgoing
        return made

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            sock = HANDSHAKING.get()
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.send(self._outgoing.read())
            raise


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _TlsConnection
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # One ticket is enough to resume; every ticket carries the client's chain.
    context.num_tickets = 1
    return context


def peer_certificate(transport: asyncio.BaseTransport) -> Certificate | None:
    """The verified certificate of the peer, of a resumed session too; None when its CN is no UID."""
    told = transport.get_extra_info("peercert")
    tls = transport.get_extra_info("ssl_object")
    der = tls.getpeercert(True) if tls is not None else None
    if isinstance(told, dict):
        told.clear()  # the transport would keep this large decoded copy for its whole life
    if der is None:
        return None
    try:
        facts = describe(x509.load_der_x509_certificate(der))
    except ValueError:
        return None
    if not valid_uid(facts.subject_cn):
        return None
    return Certificate(facts.subject_cn, facts.serial, facts.issuer_key_id, facts.not_after.timestamp())
