"""The validation vocabulary of the client API. Every check returns the value or raises `invalid_parameter`.

Source: ROP v1.0 wire specification, client-api 1.2; discrepancies B9 (ranges are enforced), B15.
"""

from __future__ import annotations

import json
import re
from typing import Any

from rop_server.client.errors import invalid
from rop_wire.messages import DEVICE_NAME

UID = re.compile(r"[A-Z0-9]{16}")


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


def json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object, whatever its Content-Type says."""
    try:
        value = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise invalid("body") from None
    if not isinstance(value, dict):
        raise invalid("body")
    return value
