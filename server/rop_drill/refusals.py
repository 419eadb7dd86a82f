"""Whether denied devices stay outside: at every port, with the best credentials that the site's keys can make."""

import asyncio
import sqlite3
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rop_data.authority import load_authority
from rop_data.config import Config
from rop_data.drill import reserved
from rop_data.layout import CertDir, DataDir
from rop_drill.server import RestoredServer
from rop_drill.strip import LOOPBACK
from rop_sim.identity import Identity, IdentityStore, check_host
from rop_sim.link import KeepAliveLink, Link, SignalingLink
from rop_sim.provision import SetupError, fetch_certificate, register
from rop_wire import messages
from rop_wire.auth import long_term_code
from rop_wire.commands import Command
from rop_wire.encrypted import access_key, secret_access_key, uid_hash
from rop_wire.packet import Packet

_LINK_SECONDS = 20.0


def denied_uids(directory: DataDir) -> list[str]:
    """The deny list of a directory that nobody serves."""
    database = sqlite3.connect(f"{directory.state.resolve().as_uri()}?mode=ro", uri=True)
    try:
        return [uid for (uid,) in database.execute("SELECT uid FROM denied ORDER BY uid")]
    finally:
        database.close()


def sample(uids: Sequence[str], count: int) -> list[str]:
    """A few of the site's own denied devices, from all over the list."""
    own = [uid for uid in uids if not reserved(uid)]
    step = max(1, len(own) // count)
    return own[::step][:count]


def forge(directory: DataDir, config: Config, uid: str) -> Identity:
    """What this UID would hold if it had enrolled and registered: made of the site's own keys."""
    certs = CertDir(directory.resolve(str(config.get("cert.workDir")).rstrip("/")))
    authority = load_authority(certs, config.server_host)
    made = authority.device_certificate(uid, 1, datetime.now(UTC))
    index = config.current_key_index
    return Identity(
        config.server_host,
        config.port("getCAHttps"),
        config.port("getCertHttps"),
        config.port("registerHttps"),
        authority.root_pem.decode(),
        made.chain_pem.decode(),
        made.key_pem.decode(),
        long_term_code(config.sign_key, uid),
        access_key(index, uid),
        secret_access_key(config.device_keys[index], uid_hash(uid)),
        config.port("keepAliveTCP"),
        config.port("signalingTLS"),
        address=LOOPBACK,
    )


async def doors(
    server: RestoredServer, identity: Identity, uid: str, ports: Mapping[str, int], folder: Path
) -> dict[str, bool]:
    """By port of config.json: whether this device was let in."""
    store = IdentityStore(folder)
    context = store.client_context(identity)
    status, _ = await server.client("POST", "/devices/initialization-session", {"uid": uid})
    found = {"clientHttp": status == 200}
    found["getCertHttps"] = await _gets_certificate(identity, uid)
    found["registerHttps"] = await _registers(identity, context, uid)
    hello = messages.Handshake(uid, "battery", "ROP Drill", "1", "wire").encode()
    for name in ("signalingTLS", "streamTLS"):
        found[name] = await _handshakes(SignalingLink(hello, _answered), identity, ports[name], context)
    for name in ("keepAliveTCP", "streamTCP"):
        keys = identity.access_key or "", identity.secret or ""
        found[name] = await _handshakes(KeepAliveLink(*keys, hello, _answered), identity, ports[name], None)
    return found


async def _gets_certificate(identity: Identity, uid: str) -> bool:
    try:
        await fetch_certificate(
            identity.host, identity.get_cert_port, identity.ca, uid, identity.code, identity.address
        )
    except SetupError:
        return False
    return True


async def _registers(identity: Identity, context: ssl.SSLContext, uid: str) -> bool:
    try:
        await register(identity, context, uid)
    except SetupError:
        return False
    return True


def _answered(link: Link, packet: Packet) -> None:
    """The handshake's answer is all that is asked for; the link ends with it."""
    if not packet.is_request and packet.command == Command.HANDSHAKE:
        link.ready = True
        link.close()


async def _handshakes(link: Link, identity: Identity, port: int, context: ssl.SSLContext | None) -> bool:
    """Whether the handshake of a connection is answered before it ends."""
    loop = asyncio.get_running_loop()
    name = identity.host if context is not None else None
    try:
        async with asyncio.timeout(_LINK_SECONDS):
            transport, _ = await loop.create_connection(
                lambda: link, identity.reach, port, ssl=context, server_hostname=name
            )
            if context is not None:
                check_host(identity.host, transport.get_extra_info("peercert"))
            assert link.ended is not None
            await link.ended
    except OSError:  # TimeoutError and ssl.SSLError are two
        link.close()
    return link.ready
