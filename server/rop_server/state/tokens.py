"""Bearer tokens of the management interface over TCP: random, hashed at rest, scoped."""

from __future__ import annotations

import hashlib
import re
import secrets
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from rop_server.state.database import open_database

PREFIX = "rop_"
SCOPES = ("Observe", "Control", "Admin")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class TokenError(Exception):
    """A token cannot be made or revoked; the text says why."""


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A token without its secret. `created_at` is epoch seconds."""

    name: str
    scope: str
    created_at: float


class TokenStore:
    """The table of tokens. Works beside a running server: SQLite serialises the writers."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, path: Path) -> TokenStore:
        """The tokens of the `state.db` at `path`."""
        return cls(open_database(path, durable=True))

    def create(self, name: str, scope: str, now: float) -> str:
        """Make a token and return it: the only time its text can be seen. Raises TokenError."""
        if scope not in SCOPES:
            raise TokenError(f"scope must be one of {', '.join(SCOPES)}")
        if not _NAME.fullmatch(name):
            raise TokenError("name must be 1-63 letters, digits, dots, hyphens, underscores")
        token = PREFIX + secrets.token_urlsafe(32)
        try:
            self._db.execute("INSERT INTO token VALUES (?, ?, ?, ?)", (name, hashed(token), scope, now))
        except sqlite3.IntegrityError:
            raise TokenError(f"a token named {name} exists") from None
        return token

    def tokens(self) -> list[TokenInfo]:
        """Every token, by name."""
        rows = self._db.execute("SELECT name, scope, created_at FROM token ORDER BY name")
        return [TokenInfo(*row) for row in rows]

    def revoke(self, name: str) -> None:
        """Delete a token; running servers refuse it at once. Raises TokenError when there is none."""
        if self._db.execute("DELETE FROM token WHERE name = ?", (name,)).rowcount == 0:
            raise TokenError(f"there is no token named {name}")

    def verify(self, token: str) -> TokenInfo | None:
        """The token's facts, None when it is unknown."""
        if not token.startswith(PREFIX):
            return None
        row = self._db.execute(
            "SELECT name, scope, created_at FROM token WHERE sha256 = ?", (hashed(token),)
        ).fetchone()
        return None if row is None else TokenInfo(*row)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


def hashed(token: str) -> bytes:
    """What is kept of a token."""
    # 256 random bits need no slow hash; looking the hash up leaks nothing about the token.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
