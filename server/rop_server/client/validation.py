"""The validation vocabulary of the client API. Every check returns the value or raises `invalid_parameter`.

Source: ROP v1.0 wire specification, client-api 1.2; discrepancies B9 (ranges are enforced), B15.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

from rop_server.client.errors import invalid
from rop_server.core import wifi
from rop_wire.messages import DEVICE_NAME

UID = re.compile(r"[A-Z0-9]{16}")
MAX_CHANNEL = 31
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_MAX_FIELDS = 64


def uid(value: object, field: str = "uid") -> str:
    """Sixteen capital letters and digits."""
    if not isinstance(value, str) or not UID.fullmatch(value):
        raise invalid(field)
    return value


def boolean(value: object, field: str) -> bool:
    """JSON true or false."""
    if not isinstance(value, bool):
        raise invalid(field)
    return value


def uint(value: object, field: str, low: int, high: int) -> int:
    """A JSON integer in a range. 60.0 is the integer 60, as in the vendor's language."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise invalid(field)
    return value


def device_name(value: object, field: str = "deviceName") -> str:
    """1 to 31 letters, digits, hyphens, blanks; no blank at either end."""
    if not isinstance(value, str) or not DEVICE_NAME.fullmatch(value):
        raise invalid(field)
    return value


def text(value: object, field: str, low: int, high: int) -> str:
    """A text of `low` to `high` UTF-16 units."""
    if not isinstance(value, str) or not low <= _units(value) <= high:
        raise invalid(field)
    return value


def word(value: object, field: str, words: Collection[str]) -> str:
    """Exactly one of the words."""
    if not isinstance(value, str) or value not in words:
        raise invalid(field)
    return value


def wifi_text(value: object, field: str, low: int) -> str:
    """An SSID or a WiFi key: `low` to 127 bytes of UTF-8. The value is in no error."""
    if not isinstance(value, str) or not wifi.is_text(value, low):
        raise invalid(field)
    return value


def country(value: object, field: str = "countryCode") -> str:
    """Two capital letters."""
    if not isinstance(value, str) or not wifi.is_country(value):
        raise invalid(field)
    return value


class Query:
    """The parameters of a query, each of which may occur once."""

    __slots__ = ("_found",)

    def __init__(self, raw: str) -> None:
        try:
            pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        except ValueError:
            raise invalid("query") from None
        self._found: dict[str, list[str]] = {}
        for name, value in pairs:
            self._found.setdefault(name, []).append(value)

    def text(self, field: str, low: int, high: int) -> str:
        """A text of `low` to `high` UTF-16 units."""
        return text(self._one(field), field, low, high)

    def maybe(self, field: str, low: int, high: int) -> str | None:
        """As `text`, None when the parameter is missing."""
        return None if field not in self._found else self.text(field, low, high)

    def word(self, field: str, words: Collection[str]) -> str:
        """Exactly one of the words."""
        return word(self._one(field), field, words)

    def whole(self, field: str, low: int, high: int) -> int:
        """An optionally signed run of digits with a value in the range."""
        value = self._one(field)
        if value is None or not _WHOLE.fullmatch(value) or not low <= int(value) <= high:
            raise invalid(field)
        return int(value)

    def _one(self, field: str) -> str | None:
        values = self._found.get(field, ())
        return values[0] if len(values) == 1 else None


def _units(value: str) -> int:
    return len(value.encode("utf-16-le", "surrogatepass")) // 2


def json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object, whatever its Content-Type says."""
    try:
        value = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise invalid("body") from None
    if not isinstance(value, dict):
        raise invalid("body")
    return value
