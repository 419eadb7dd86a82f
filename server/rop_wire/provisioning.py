"""JSON bodies of the HTTPS services 61000, 61001 and 61002, both directions.

Source: ROP v1.0 wire specification, device-protocol 2. Bodies are compact UTF-8 JSON, at most 64 KiB
(discrepancies C3.17).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rop_wire.errors import EncodeError, ProtocolError
from rop_wire.symbols import device_error_document

CA_PATH = "/v1.0/ca"
# The misspelling is the real path; the correct spelling is accepted too (discrepancies B4).
CERTIFICATE_PATH = "/v1.0/devices/credetials"
CERTIFICATE_PATHS = (CERTIFICATE_PATH, "/v1.0/devices/credentials")
REGISTRATION_PATH = "/v1.0/devices/registration"
MAX_BODY = 65536


def dump(document: Mapping[str, Any]) -> bytes:
    """Compact UTF-8 JSON in the given member order."""
    try:
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise EncodeError("text with half a character") from None


def load(body: bytes, limit: int = MAX_BODY) -> dict[str, Any]:
    """A JSON object. Raises ProtocolError for anything else or above `limit` bytes."""
    if len(body) > limit:
        raise ProtocolError(f"body of {len(body)} bytes")
    try:
        document = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise ProtocolError("body is not JSON") from None
    if not isinstance(document, dict):
        raise ProtocolError("body is not a JSON object")
    return document


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise ProtocolError(f"member {name} is missing or not text")
    return value


def _number(document: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ProtocolError(f"member {name} is not a number {low}..{high}")
    return value


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer. It can arrive with status 200, so look for it first."""

    symbol: str
    message: str

    def encode(self) -> bytes:
        """The body: message, symbol."""
        return dump(device_error_document(self.symbol, self.message))


def refusal_in(document: Mapping[str, Any]) -> Refusal | None:
    """The refusal of an answer, if it is one."""
    error = document.get("error")
    if error is None:
        return None
    members = error if isinstance(error, dict) else {}
    return Refusal(str(members.get("symbol", "")), str(members.get("message", "")))


@dataclass(frozen=True, slots=True)
class CaReply:
    """Answer of 61000: root CA file as text, server time in seconds (rounded up by the server)."""

    ca: str
    now: int

    @classmethod
    def at(cls, ca: str, wall: float) -> "CaReply":
        """The answer at a time in epoch seconds."""
        return cls(ca, math.ceil(wall))

    def encode(self) -> bytes:
        """The body."""
        return dump({"ca": self.ca, "now": self.now})

    @classmethod
    def decode(cls, body: bytes) -> "CaReply":
        """Parse the body."""
        document = load(body)
        return cls(_text(document, "ca"), _number(document, "now", 0, 2**53))


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """Request of 61001. Members that are missing or not text are None: the answer differs by member."""

    uid: str | None
    code: str | None = field(repr=False)

    def encode(self) -> bytes:
        """The body."""
        return dump({"uid": self.uid, "code": self.code})

    @classmethod
    def decode(cls, body: bytes) -> "CertificateRequest":
        """Parse the body."""
        document = load(body)
        uid, code = document.get("uid"), document.get("code")
        return cls(uid if isinstance(uid, str) else None, code if isinstance(code, str) else None)


@dataclass(frozen=True, slots=True)
class CertificateReply:
    """Answer of 61001: leaf and L2 CA, long-term code, SEC1 private key."""

    cert: str
    code: str = field(repr=False)
    key: str = field(repr=False)

    def encode(self) -> bytes:
        """The body."""
        return dump({"cert": self.cert, "code": self.code, "key": self.key})

    @classmethod
    def decode(cls, body: bytes) -> "CertificateReply | Refusal":
        """Parse the body: a refusal comes first, whatever the status was."""
        document = load(body)
        return refusal_in(document) or cls(
            _text(document, "cert"), _text(document, "code"), _text(document, "key")
        )


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """Request of 61002."""

    uid: str | None

    def encode(self) -> bytes:
        """The body."""
        return dump({"uid": self.uid})

    @classmethod
    def decode(cls, body: bytes) -> "RegistrationRequest":
        """Parse the body."""
        uid = load(body).get("uid")
        return cls(uid if isinstance(uid, str) else None)


@dataclass(frozen=True, slots=True)
class RegistrationReply:
    """Answer of 61002: keys for encrypted TCP, ports, seconds between heartbeats on 61005."""

    access_key: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    keep_alive_port: int
    signaling_port: int
    heartbeat_interval_s: int

    def encode(self) -> bytes:
        """The body, in the vendor's member order and spelling."""
        return dump(
            {
                "accesskey": self.access_key,
                "keepAliveTCPPort": self.keep_alive_port,
                "signalingTLSPort": self.signaling_port,
                "secretAccesskey": self.secret_access_key,
                "heartBeatInterval": self.heartbeat_interval_s,
            }
        )

    @classmethod
    def decode(cls, body: bytes) -> "RegistrationReply | Refusal":
        """Parse the body."""
        document = load(body)
        return refusal_in(document) or cls(
            _text(document, "accesskey"),
            _text(document, "secretAccesskey"),
            _number(document, "keepAliveTCPPort", 1, 65535),
            _number(document, "signalingTLSPort", 1, 65535),
            _number(document, "heartBeatInterval", 0, 65535),
        )
