"""Authorization codes and the hash of the root certificate.

Source: ROP v1.0 wire specification, pki-and-config 3 and 4; device-protocol 2.1.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import string
from collections.abc import Container
from dataclasses import dataclass, field

UID = re.compile(r"[A-Z0-9]{16}")
SHORT_CODE_LENGTH = 8
_ALPHABET = string.ascii_letters + string.digits


def valid_uid(text: object) -> bool:
    """Whether this is a device's UID: 16 characters A-Z, 0-9."""
    return isinstance(text, str) and UID.fullmatch(text) is not None


def ca_hash(pem: bytes | str) -> str:
    """Base64 of the SHA-256 of the root CA file, every byte of it."""
    raw = pem.encode() if isinstance(pem, str) else pem
    return base64.b64encode(hashlib.sha256(raw).digest()).decode()


def random_text(length: int) -> str:
    """Letters and digits from the operating system's secure generator."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def random_code() -> str:
    """A short-term code."""
    return random_text(SHORT_CODE_LENGTH)


def _signature(sign_key: str, content: str) -> str:
    return base64.b64encode(hmac.new(sign_key.encode(), content.encode(), hashlib.sha256).digest()).decode()


def long_term_code(sign_key: str, uid: str, expired_at: int = 0) -> str:
    """The code a device renews its certificate with. `expired_at` 0: never."""
    document = json.dumps({"uid": uid, "expiredAt": expired_at}, separators=(",", ":"))
    content = base64.b64encode(document.encode()).decode()
    return f"{content}.{_signature(sign_key, content)}"


def verify_long_term(sign_key: str, code: str, uid: str, now: float) -> str | None:
    """None when the code is this UID's, else the symbol to answer. `now` in epoch seconds. Constant time."""
    content, _, signature = code.partition(".")
    try:
        right = hmac.compare_digest(_signature(sign_key, content).encode(), signature.encode())
    except UnicodeEncodeError:
        return "signature_not_matched"
    if not right:
        return "signature_not_matched"
    try:
        document = json.loads(base64.b64decode(content, validate=True))
        owner, expired_at = document["uid"], document["expiredAt"]
    except (ValueError, KeyError, TypeError):
        return "signature_not_matched"
    if owner != uid:
        return "device_not_matched"
    # Milliseconds since 1970, as the play addresses of the vendor; 0 means that it does not end.
    if isinstance(expired_at, int) and expired_at and expired_at < now * 1000:
        return "code_invalid"
    return None


@dataclass(slots=True)
class _Entry:
    uid: str
    expires: float
    used: int = field(default=0)


class CodeTable:
    """Short-term codes in memory. Times are monotonic seconds given by the caller."""

    def __init__(self, limit: int = 100_000) -> None:
        self._entries: dict[str, _Entry] = {}
        self._limit = limit

    def __len__(self) -> int:
        return len(self._entries)

    def issue(self, uid: str, now: float, life: float) -> str:
        """A fresh code for the UID, valid for `life` seconds."""
        self.purge(now)
        while len(self._entries) >= self._limit:
            del self._entries[next(iter(self._entries))]
        code = random_code()
        while code in self._entries:
            code = random_code()
        self._entries[code] = _Entry(uid, now + life)
        return code

    def check(self, code: str, uid: str, now: float) -> str | None:
        """None when the code may be used by this UID, else the symbol. An accepted use is counted.

        `code_expired` is no symbol of the wire: it is answered as `code_invalid` with status 400, an unknown code
        as `code_invalid` with status 200 (device-protocol 2.2).
        """
        entry = self._entries.get(code)
        if entry is None:
            return "code_invalid"
        if entry.uid != uid:
            return "device_not_matched"
        if entry.expires <= now:
            return "code_expired"
        entry.used += 1
        return None

    def uses(self, code: str) -> int:
        """How often the code was accepted."""
        entry = self._entries.get(code)
        return entry.used if entry else 0

    def ends(self, now: float, spent: Container[str] = ()) -> float:
        """Seconds until the last code expires, `spent` ones apart; 0 when there is none."""
        left = (entry.expires - now for code, entry in self._entries.items() if code not in spent)
        return max(0.0, max(left, default=0.0))

    def purge(self, now: float, keep: float = 300.0) -> list[str]:
        """Forget codes that expired more than `keep` seconds ago; the UIDs whose codes were never used."""
        gone = [code for code, entry in self._entries.items() if entry.expires + keep <= now]
        return [entry.uid for entry in map(self._entries.pop, gone) if not entry.used]
