"""Record times as clients see them, and the cursor between pages of recordings.

Source: ROP v1.0 wire specification, client-api 2.9; discrepancies B30, C2.14.
"""

import base64
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from rop_wire.errors import ProtocolError
from rop_wire.messages.streams import FILES_PER_PAGE, Files

MAX_TOKEN = 255
_CLIENT_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")


def client_time(at: datetime) -> str:
    """`YYYY-MM-DD HH:MM:SS`, wall clock of the device without zone."""
    return at.replace(microsecond=0, tzinfo=None).isoformat(" ")


def parse_client_time(text: str) -> datetime:
    """The inverse of `client_time`. Raises ProtocolError."""
    try:
        if _CLIENT_TIME.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise ProtocolError("not a date and time")


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where the next page begins and how many rows came before it."""

    next_time: datetime
    rows: int

    @classmethod
    def after(cls, page: Files, rows_before: int = 0) -> "PageToken | None":
        """The cursor behind a full page; None when the page is the last."""
        if len(page.recordings) != FILES_PER_PAGE:
            return None
        try:
            following = page.recordings[-1].end + timedelta(seconds=1)
        except OverflowError:
            return None
        return cls(following, rows_before + FILES_PER_PAGE)

    def encode(self) -> str:
        """Base64url without padding of compact JSON."""
        document = {"nextTime": client_time(self.next_time), "rows": self.rows}
        raw = json.dumps(document, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "PageToken":
        """From a client's text, at most 255 characters. Raises ProtocolError."""
        if len(text) > MAX_TOKEN or not _TOKEN.fullmatch(text):
            raise ProtocolError("not a page token")
        try:
            document = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            next_time, rows = document["nextTime"], document["rows"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ProtocolError("not a page token") from None
        if not isinstance(next_time, str) or type(rows) is not int or not 0 <= rows < 2**31:
            raise ProtocolError("not a page token")
        return cls(parse_client_time(next_time), rows)
