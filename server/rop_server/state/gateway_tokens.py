"""Bearer tokens of the gateway: random, hashed at rest, with verbs, cameras and an end."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from rop_server.access.grants import Grant, decode_grant
from rop_server.state.tokens import PREFIX, TokenError, hashed

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MAX_TOKENS = 10_000
LONGEST_DAYS = 3650


@dataclass(frozen=True, slots=True)
class GatewayToken:
    """A token without its secret. Times are epoch seconds."""

    name: str
    grant: Grant
    created_at: float
    expires_at: float


class GatewayTokens:
    """The table of tokens. `revoked` is called with the name of one that is gone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.revoked: Callable[[str], None] = lambda name: None

    def create(self, name: str, grant: Grant, now: float, expires_at: float) -> str:
        """Make a token and return it: the only time its text can be seen. Raises TokenError."""
        if not NAME.fullmatch(name):
            raise TokenError("name must be 1-63 letters, digits, dots, hyphens, underscores")
        if not grant.verbs:
            raise TokenError("verbs must name at least one")
        if not now < expires_at <= now + LONGEST_DAYS * 86_400:
            raise TokenError(f"expiresAt must be in the future, {LONGEST_DAYS} days at most")
        if self._db.execute("SELECT count(*) FROM gateway_token").fetchone()[0] >= MAX_TOKENS:
            raise TokenError(f"there are {MAX_TOKENS} tokens; revoke some")
        token = PREFIX + secrets.token_urlsafe(32)
        row = (name, hashed(token), json.dumps(grant.document()), now, expires_at)
        try:
            self._db.execute("INSERT INTO gateway_token VALUES (?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise TokenError(f"a token named {name} exists") from None
        return token

    def tokens(self) -> list[GatewayToken]:
        """Every token, expired ones included, by name."""
        rows = self._db.execute("SELECT name, grant, created_at, expires_at FROM gateway_token ORDER BY name")
        return [_token(row) for row in rows]

    def revoke(self, name: str) -> None:
        """Delete a token: it is refused from now on. Raises TokenError when there is none."""
        if self._db.execute("DELETE FROM gateway_token WHERE name = ?", (name,)).rowcount == 0:
            raise TokenError(f"there is no token named {name}")
        self.revoked(name)

    def verify(self, token: str, now: float) -> GatewayToken | None:
        """The token's facts, None when it is unknown or has ended."""
        if not token.startswith(PREFIX):
            return None
        row = self._db.execute(
            "SELECT name, grant, created_at, expires_at FROM gateway_token WHERE sha256 = ?", (hashed(token),)
        ).fetchone()
        found = None if row is None else _token(row)
        return found if found is not None and now < found.expires_at else None


def _token(row: tuple[str, str, float, float]) -> GatewayToken:
    name, grant, created_at, expires_at = row
    return GatewayToken(name, decode_grant(json.loads(grant)), created_at, expires_at)
