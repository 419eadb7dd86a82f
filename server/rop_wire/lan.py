"""LAN discovery, set-up documents, QR text. Source: ROP v1.0 wire specification, lan-setup; client-api 2.1."""

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rop_wire.auth import valid_uid
from rop_wire.errors import ProtocolError
from rop_wire.provisioning import dump, load
from rop_wire.symbols import error_document

DISCOVERY_PORT = 2000
DISCOVERY_MAGIC = 9774848
MAX_DATAGRAM = 512
SETUP_PATH = "/rop/setup"
MAX_HOST = 62
SETUP_SYMBOLS = (
    "invalid_parameter",
    "sync_time_failed",
    "cmd_timeout",
    "cmd_exec_error",
    "download_ca_failed",
    "download_private_key_failed",
    "registe_failed",
)
_CA_HASH = re.compile(r"[A-Za-z0-9+/]{43}=")


def discovery_request() -> bytes:
    """What the tool broadcasts."""
    return dump({"magic": DISCOVERY_MAGIC})


def is_discovery_request(datagram: bytes) -> bool:
    """Whether a camera should answer this datagram."""
    try:
        magic = load(datagram, MAX_DATAGRAM).get("magic")
    except ProtocolError:
        return False
    return magic == DISCOVERY_MAGIC and not isinstance(magic, bool | float)


@dataclass(frozen=True, slots=True)
class DiscoveryReply:
    """A camera's answer: where its set-up service listens."""

    uid: str
    ip: str
    port: int

    def encode(self) -> bytes:
        """The datagram."""
        return dump({"uid": self.uid, "ip": self.ip, "port": self.port})

    @classmethod
    def decode(cls, datagram: bytes) -> "DiscoveryReply":
        """Parse the datagram."""
        document = load(datagram, MAX_DATAGRAM)
        uid, ip, port = (document.get(name) for name in ("uid", "ip", "port"))
        if not isinstance(uid, str) or not valid_uid(uid):
            raise ProtocolError("discovery answer without a UID")
        if isinstance(port, bool) or not isinstance(port, int) or not 1 < port < 65535:
            raise ProtocolError("discovery answer without a port")
        try:
            return cls(uid, str(ipaddress.IPv4Address(ip if isinstance(ip, str) else "")), port)
        except ValueError:
            raise ProtocolError("discovery answer without an IPv4 address") from None


def _port(document: Mapping[str, Any], name: str) -> int:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        raise ProtocolError(f"{name} is not a port")
    return value


def _short(document: Mapping[str, Any], name: str, limit: int) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not 0 < len(value.encode(errors="replace")) < limit:
        raise ProtocolError(f"{name} is not text of less than {limit} bytes")
    return value


@dataclass(frozen=True, slots=True)
class SetupDocument:
    """What a camera needs to join a server: the answer of an initialization session. `time` is epoch seconds."""

    host: str
    get_ca_port: int
    get_cert_port: int
    register_port: int
    code: str = field(repr=False)
    ca_hash: str
    time: int
    uid: str | None = None

    def document(self) -> dict[str, Any]:
        """The JSON object, members in the order of client-api 2.1."""
        told: dict[str, Any] = {} if self.uid is None else {"uid": self.uid}
        return told | {
            "caHash": self.ca_hash,
            "code": self.code,
            "host": self.host,
            "getCAPort": self.get_ca_port,
            "getCertPort": self.get_cert_port,
            "registerPort": self.register_port,
            "time": self.time,
        }

    def encode(self) -> bytes:
        """The body."""
        return dump(self.document())

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "SetupDocument":
        """From a JSON object, rules of lan-setup 2. ProtocolError names the member."""
        time, uid = document.get("time"), document.get("uid")
        if isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time < 2**40:
            raise ProtocolError("time is not a number of seconds")
        if uid is not None and (not isinstance(uid, str) or not valid_uid(uid)):
            raise ProtocolError("uid is not a UID")
        ca_hash = _short(document, "caHash", 127)
        if not _CA_HASH.fullmatch(ca_hash):
            raise ProtocolError("caHash is not a base64 SHA-256")
        return cls(
            _short(document, "host", 255),
            _port(document, "getCAPort"),
            _port(document, "getCertPort"),
            _port(document, "registerPort"),
            _short(document, "code", 255),
            ca_hash,
            int(time),
            uid,
        )

    @classmethod
    def decode(cls, body: bytes) -> "SetupDocument":
        """Parse the body."""
        return cls.of(load(body))


# The answer of an initialization session (client-api 2.1) is the same document, there always with the UID.
InitializationSession = SetupDocument


def setup_ok() -> bytes:
    """The camera's answer when everything worked (status 200)."""
    return dump({"message": "ok"})


def setup_error(symbol: str, message: str = "set-up failed") -> bytes:
    """The camera's answer when something failed (status 400)."""
    return dump(error_document(symbol, message))


def setup_answer(status: int, body: bytes) -> str | None:
    """None when the camera joined, else its symbol; `cmd_exec_error` when the answer cannot be read."""
    try:
        document = load(body)
    except ProtocolError:
        document = {}
    error = document.get("error")
    if status == 200 and error is None:
        return None
    symbol = error.get("symbol") if isinstance(error, dict) else None
    return symbol if symbol in SETUP_SYMBOLS else "cmd_exec_error"


def qr_text(document: SetupDocument) -> str:
    """What a QR code carries to a camera without LAN: the JSON text itself."""
    return json.dumps(document.document(), separators=(",", ":"), ensure_ascii=False)
