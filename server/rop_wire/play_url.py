"""Play addresses of live streams and recordings, signed with a key that lives as long as the server's process.

Source: ROP v1.0 wire specification, client-api 3.1.
"""

import base64
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rop_wire.auth import random_text, valid_uid
from rop_wire.errors import EncodeError, ProtocolError
from rop_wire.messages import STREAM_BITS

PATH_PREFIX = "/v1.0/live/"
KEY_LENGTH = 32
MAX_URL = 8192
MAX_REQUEST_ID = 2**32 - 1
_SEGMENT = re.compile(r"([A-Za-z0-9_-]{1,6000})\.([A-Za-z0-9_-]{43})")


class SignatureError(ProtocolError):
    """The address was not made with this key (symbol `signature_not_matched`)."""


@dataclass(frozen=True, slots=True)
class LiveAddress:
    """What a live address says. `expired_at` in milliseconds since 1970; `handle` is the stream's request id."""

    uid: str
    handle: int
    stream_type: str
    channel: int
    expired_at: int

    def document(self) -> dict[str, Any]:
        """Members in the order that is signed."""
        return {
            "type": "live",
            "uid": self.uid,
            "requestId": self.handle,
            "streamType": self.stream_type,
            "channel": self.channel,
            "expiredAt": self.expired_at,
        }


@dataclass(frozen=True, slots=True)
class RecordAddress:
    """What the address of a recording says; units as `LiveAddress`."""

    channel: int
    file_name: str
    uid: str
    handle: int
    expired_at: int

    def document(self) -> dict[str, Any]:
        """Members in the order that is signed."""
        return {
            "type": "record",
            "channel": self.channel,
            "fileName": self.file_name,
            "uid": self.uid,
            "requestId": self.handle,
            "expiredAt": self.expired_at,
        }


Address = LiveAddress | RecordAddress


def random_key() -> str:
    """A signing key for one process: 32 letters and digits."""
    return random_text(KEY_LENGTH)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _signature(key: str, content: str) -> str:
    return _base64url(hmac.digest(key.encode(), content.encode(), "sha256"))


def sign(key: str, prefix: str, address: Address) -> str:
    """The URL below `prefix` (`rtsp://host:port`, one trailing slash tolerated)."""
    try:
        raw = json.dumps(address.document(), separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise EncodeError("file name with half a character") from None
    content = _base64url(raw)
    return f"{prefix.removesuffix('/')}{PATH_PREFIX}{content}.{_signature(key, content)}"


def verify(key: str, url: str) -> Address:
    """What a URL or path says; only its last path segment counts. Constant time.

    Raises SignatureError for a foreign or altered address and ProtocolError for one that is signed but senseless.
    Whether it has expired is the caller's question.
    """
    segment = url.partition("?")[0].removesuffix("/").rpartition("/")[2] if len(url) <= MAX_URL else ""
    found = _SEGMENT.fullmatch(segment)
    if found is None:
        raise SignatureError("not a play address")
    content, signature = found.groups()
    if not hmac.compare_digest(_signature(key, content).encode(), signature.encode()):
        raise SignatureError("not signed by this process")
    try:
        document = json.loads(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))
    except (ValueError, RecursionError):
        raise ProtocolError("play address without a document") from None
    if not isinstance(document, dict):
        raise ProtocolError("play address without a document")
    return _address(document)


def _number(document: Mapping[str, Any], name: str, limit: int) -> int:
    value = document.get(name)
    if type(value) is not int or not 0 <= value <= limit:
        raise ProtocolError(f"play address: {name}")
    return value


def _address(document: Mapping[str, Any]) -> Address:
    kind, uid = document.get("type"), document.get("uid")
    if not isinstance(uid, str) or not valid_uid(uid):
        raise ProtocolError("play address: uid")
    channel, handle = _number(document, "channel", 31), _number(document, "requestId", MAX_REQUEST_ID)
    expired_at = _number(document, "expiredAt", 2**53)
    stream_type, file_name = document.get("streamType"), document.get("fileName")
    if kind == "live" and stream_type in STREAM_BITS:
        return LiveAddress(uid, handle, str(stream_type), channel, expired_at)
    if kind == "record" and isinstance(file_name, str):
        return RecordAddress(channel, file_name, uid, handle, expired_at)
    raise ProtocolError("play address: type")
