"""The hand-over as a camera does it: root, certificate, registration; later renewal. Source: lan-setup 2."""

import asyncio
import ssl
from dataclasses import replace

from rop_sim.https import request
from rop_sim.identity import Identity, IdentityStore, trusting, trusting_nobody
from rop_wire import provisioning
from rop_wire.auth import ca_hash
from rop_wire.errors import WireError
from rop_wire.lan import SetupDocument

_FAULTS = (OSError, ssl.SSLError, WireError, ValueError, EOFError, TimeoutError, asyncio.LimitOverrunError)


class SetupError(Exception):
    """A step failed; `symbol` is what the camera answers."""

    def __init__(self, symbol: str, message: str) -> None:
        super().__init__(f"{symbol}: {message}")
        self.symbol = symbol


async def fetch_ca(document: SetupDocument, at: str | None = None) -> str:
    """Download the root without trust and compare its hash. `at`: where to connect instead of the host."""
    try:
        address = (document.host, document.get_ca_port)
        status, body = await request(address, trusting_nobody(), f"GET {provisioning.CA_PATH}", at=at)
        reply = provisioning.CaReply.decode(body)
    except _FAULTS as failure:
        raise SetupError("download_ca_failed", str(failure) or type(failure).__name__) from None
    if status != 200 or ca_hash(reply.ca) != document.ca_hash:
        raise SetupError("download_ca_failed", "the root does not have the announced hash")
    return reply.ca


async def fetch_certificate(
    host: str, port: int, ca: str, uid: str, code: str, at: str | None = None
) -> provisioning.CertificateReply:
    """Get a certificate for a short-term or the long-term code."""
    try:
        body = provisioning.CertificateRequest(uid, code).encode()
        _, answer = await request((host, port), trusting(ca), f"POST {provisioning.CERTIFICATE_PATH}", body, at=at)
        reply = provisioning.CertificateReply.decode(answer)
    except _FAULTS as failure:
        raise SetupError("download_private_key_failed", str(failure) or type(failure).__name__) from None
    if isinstance(reply, provisioning.Refusal):
        raise SetupError("download_private_key_failed", reply.symbol)
    return reply


async def register(identity: Identity, context: ssl.SSLContext, uid: str) -> Identity:
    """Register at 61002; the identity with keys and ports."""
    try:
        body = provisioning.RegistrationRequest(uid).encode()
        address = (identity.host, identity.register_port)
        path = f"POST {provisioning.REGISTRATION_PATH}"
        _, answer = await request(address, context, path, body, at=identity.address)
        reply = provisioning.RegistrationReply.decode(answer)
    except _FAULTS as failure:
        raise SetupError("registe_failed", str(failure) or type(failure).__name__) from None
    if isinstance(reply, provisioning.Refusal):
        raise SetupError("registe_failed", reply.symbol)
    return replace(
        identity,
        access_key=reply.access_key,
        secret=reply.secret_access_key,
        keep_alive_port=reply.keep_alive_port,
        signaling_port=reply.signaling_port,
        heartbeat_interval=reply.heartbeat_interval_s,
    )


async def hand_over(document: SetupDocument, uid: str, store: IdentityStore, at: str | None = None) -> Identity:
    """All steps of a set-up, in the order of its error symbols; the identity is stored at the end only."""
    ca = await fetch_ca(document, at)
    granted = await fetch_certificate(document.host, document.get_cert_port, ca, uid, document.code, at)
    identity = Identity(
        document.host,
        document.get_ca_port,
        document.get_cert_port,
        document.register_port,
        ca,
        granted.cert,
        granted.key,
        granted.code,
        address=at,
    )
    staging = IdentityStore(store.folder.with_name(store.folder.name + ".new"))
    identity = await register(identity, staging.client_context(identity), uid)
    store.save(identity)
    staging.forget()
    return identity


async def renew(identity: Identity, uid: str) -> Identity:
    """A new certificate for the long-term code."""
    granted = await fetch_certificate(
        identity.host, identity.get_cert_port, identity.ca, uid, identity.code, identity.address
    )
    return replace(identity, cert=granted.cert, key=granted.key, code=granted.code)
