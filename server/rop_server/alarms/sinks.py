"""Where alarms go: the address, its signing key, and which alarms it wants. Addresses and keys are secrets."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# The name of the webhook of config.json beside the sinks of rop.json.
WEBHOOK = "webhook"
KEY_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which alarms a sink wants; an empty member wants all. `types` are those of `AItype`."""

    uids: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()

    def wants(self, uid: str, event: Mapping[str, object]) -> bool:
        """Whether this alarm passes."""
        if self.uids and uid not in self.uids:
            return False
        if self.statuses and event.get("status") not in self.statuses:
            return False
        return not self.types or bool(self.types & set(str(event.get("AItype", "")).split(",")))


@dataclass(frozen=True, slots=True)
class Sink:
    """One receiver."""

    name: str
    url: str = field(repr=False)
    key: bytes | None = field(default=None, repr=False)
    filter: Filter = Filter()

    @property
    def address(self) -> str:
        """What may be shown: scheme and host. Path and query can hold a key."""
        return masked(self.url)


def masked(url: str) -> str:
    """Scheme, host and port of an address; the rest is hidden."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
        host = parts.hostname
    except ValueError:
        return "***"
    if not host or parts.scheme not in ("http", "https"):
        return "***"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}/***"


def new_key() -> str:
    """A signing key as text: `whsec_` and 32 random bytes in base64."""
    return KEY_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_bytes(text: str) -> bytes:
    """The bytes of a signing key. Raises ValueError, which does not contain the text."""
    try:
        raw = base64.b64decode(text.strip().removeprefix(KEY_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a signing key is whsec_ and base64") from None
    if len(raw) < 16:
        raise ValueError("a signing key has at least 16 bytes")
    return raw


def signature_headers(key: bytes, id_: str, now: float, body: bytes) -> dict[str, str]:
    """The headers of the Standard Webhooks specification; `now` in epoch seconds.

    A receiver computes the same over `ID.TIMESTAMP.BODY`, and refuses old timestamps and ids it has seen.
    """
    at = str(int(now))
    signed = hmac.new(key, b".".join((id_.encode(), at.encode(), body)), hashlib.sha256).digest()
    return {
        "webhook-id": id_,
        "webhook-timestamp": at,
        "webhook-signature": "v1," + base64.b64encode(signed).decode(),
    }
