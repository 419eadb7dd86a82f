"""Reads request parameters and bodies of the management interface; every refusal names the field."""

from __future__ import annotations

import json
import re
from typing import Any

from aiohttp import web

from rop_server.manage.errors import ManageError, invalid

UID = re.compile(r"[A-Z0-9]{16}")
MAX_UIDS = 100_000
_NUMBER = re.compile(r"[0-9]{1,18}")


async def read_object(request: web.Request, *members: str) -> dict[str, Any]:
    """The JSON body, an object with no members but these (any, when none are named)."""
    try:
        value = json.loads((await request.read()).decode("utf-8"))
    except web.HTTPRequestEntityTooLarge:
        raise ManageError(413, "body_too_large", "the body is too large") from None
    except (ValueError, RecursionError):
        raise invalid("body", "must be JSON") from None
    if not isinstance(value, dict):
        raise invalid("body", "must be a JSON object")
    for name in value:
        if members and name not in members:
            raise invalid(name, f"unknown member, known are {', '.join(members)}")
    return value


def uid_of(value: object, field: str = "uid") -> str:
    """A device UID."""
    if not isinstance(value, str) or not UID.fullmatch(value):
        raise invalid(field, "must be 16 capital letters and digits")
    return value


def uids_of(value: object, field: str = "uids") -> list[str]:
    """A list of UIDs."""
    if not isinstance(value, list) or len(value) > MAX_UIDS:
        raise invalid(field, f"must be a list of at most {MAX_UIDS} UIDs")
    return [uid_of(item, f"{field}[{index}]") for index, item in enumerate(value)]


def word_of(value: object, field: str, *words: str) -> str:
    """One of the words."""
    if not isinstance(value, str) or value not in words:
        raise invalid(field, f"must be one of {', '.join(words)}")
    return value


def number_in(request: web.Request, field: str, default: int | None = None, high: int | None = None) -> int | None:
    """A whole number of the query."""
    text = request.query.get(field)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or (high is not None and int(text) > high):
        raise invalid(field, "must be a whole number" + (f" up to {high}" if high is not None else ""))
    return int(text)
