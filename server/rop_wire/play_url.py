"""Signed play addresses. Source: ROP v1.0 wire specification, client-api 3.1.

An address names a stream and carries its own proof; the key is made at process start, so addresses die with it.
"""

import base64
import hmac
import json
import re
from dataclasses import dataclass
from typing import Any

from rop_wire.auth import valid_uid
from rop_wire.errors import EncodeError, ProtocolError

PATH = "/v1.0/live/"
MAX_SEGMENT = 4096
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _sign(key: str, content: str) -> str:
    return _encode(hmac.digest(key.encode(), content.encode(), "sha256"))


@dataclass(frozen=True, slots=True)
class LivePlay:
    """A live stream. `request_id` is the handle; `expired_at` in milliseconds since 1970."""

    uid: str
    request_id: int
    stream_type: str
    channel: int
    expired_at: int

    def document(self) -> dict[str, Any]:
        """What is signed, in member order."""
        return {
            "type": "live",
            "uid": self.uid,
            "requestId": self.request_id,
            "streamType": self.stream_type,
            "channel": self.channel,
            "expiredAt": self.expired_at,
        }


@dataclass(frozen=True, slots=True)
class RecordPlay:
    """A recording. Fields as in `LivePlay`."""

    channel: int
    file_name: str
    uid: str
    request_id: int
    expired_at: int

    def document(self) -> dict[str, Any]:
        """What is signed, in member order."""
        return {
            "type": "record",
            "channel": self.channel,
            "fileName": self.file_name,
            "uid": self.uid,
            "requestId": self.request_id,
            "expiredAt": self.expired_at,
        }


@dataclass(frozen=True, slots=True)
class TicketPlay:
    """Our own kind: the address of one caller, which tells nothing of what it leads to."""

    ticket: str
    expired_at: int

    def document(self) -> dict[str, Any]:
        """What is signed, in member order."""
        return {"type": "ticket", "ticket": self.ticket, "expiredAt": self.expired_at}


Play = LivePlay | RecordPlay


def play_url(prefix: str, key: str, play: Play | TicketPlay) -> str:
    """The address. `prefix` without trailing slash, e.g. `rtsp://host:61008`. Treat the result as a secret."""
    try:
        raw = json.dumps(play.document(), separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise EncodeError("text with half a character") from None
    content = _encode(raw)
    return f"{prefix}{PATH}{content}.{_sign(key, content)}"


def open_play_url(url: str, key: str) -> Play | TicketPlay:
    """What an address names; only its last path segment counts. Raises ProtocolError when the proof is wrong.

    The time is left to the caller: a described stream stays valid while somebody watches.
    """
    segment = url.partition("?")[0].rstrip("/").rpartition("/")[2]
    if len(segment) > MAX_SEGMENT or not _SEGMENT.fullmatch(segment):
        raise ProtocolError("signature_not_matched")
    content, _, signature = segment.partition(".")
    if not hmac.compare_digest(_sign(key, content), signature):
        raise ProtocolError("signature_not_matched")
    try:
        told = json.loads(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))
        return _play(told)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ProtocolError("signature_not_matched") from None


def _play(told: Any) -> Play | TicketPlay:
    if told["type"] == "ticket":
        if type(told["expiredAt"]) is not int:
            raise ValueError("expiredAt")
        return TicketPlay(str(told["ticket"]), told["expiredAt"])
    for name in ("requestId", "channel", "expiredAt"):
        if type(told[name]) is not int:
            raise ValueError(name)
    if not valid_uid(told["uid"]):
        raise ValueError("uid")
    if told["type"] == "live":
        return LivePlay(
            told["uid"], told["requestId"], str(told["streamType"]), told["channel"], told["expiredAt"]
        )
    if told["type"] == "record":
        return RecordPlay(
            told["channel"], str(told["fileName"]), told["uid"], told["requestId"], told["expiredAt"]
        )
    raise ValueError("type")
