"""Users and passwords of an htpasswd file: bcrypt alone, remembered for a while, paced for each client address."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping

import bcrypt

from rop_gateway.config import ConfigError

REMEMBERED_S = 300.0
MAX_REMEMBERED = 4096
MAX_ADDRESSES = 16_384
# A password costs a tenth of a second of CPU: two at a time, a few waiting, ten at once from one address and then
# one each two seconds.
AT_ONCE = 2
WAITING = 16
TRIES = 10.0
TRIES_PER_S = 0.5
MAX_COST = 13
# Bytes that bcrypt looks at; longer passwords would be cut silently.
MAX_PASSWORD = 72
_ENTRY = re.compile(r"([A-Za-z0-9][A-Za-z0-9._@-]{0,62}):\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")


def parse_htpasswd(text: str) -> dict[str, bytes]:
    """Users and their hashes. Raises ConfigError with the line; no hash is in its text."""
    users: dict[str, bytes] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        found = _ENTRY.fullmatch(line)
        where = f"htpasswdFile line {number}"
        if found is None:
            raise ConfigError(
                [(where, "must be USER:HASH with a bcrypt hash; make one with rop-gateway password")]
            )
        if not 4 <= int(found[2]) <= MAX_COST:
            raise ConfigError([(where, f"has cost {found[2]}, 4 to {MAX_COST} are taken")])
        if found[1] in users:
            raise ConfigError([(where, f"names {found[1]} a second time")])
        users[found[1]] = line.partition(":")[2].encode()
    return users


def entry(user: str, password: bytes) -> str:
    """A line for the file. Raises ConfigError."""
    if not password or len(password) > MAX_PASSWORD or b"\0" in password:
        raise ConfigError([("password", f"must have 1 to {MAX_PASSWORD} bytes")])
    line = f"{user}:{bcrypt.hashpw(password, bcrypt.gensalt(10)).decode()}"
    if not _ENTRY.fullmatch(line):
        raise ConfigError(
            [("user", "must have 1 to 63 letters, digits and ._@- and begin with a letter or digit")]
        )
    return line


class Throttled(Exception):
    """Too many passwords from this address, or too many at once: ask again later."""


class Passwords:
    """Who has the right password. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._users: Mapping[str, bytes] = {}
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        self._tries: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        # Unknown users cost the same time as known ones.
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(10))

    def take(self, users: Mapping[str, bytes]) -> None:
        """The users from now on."""
        self._users = users

    async def check(self, user: str, password: bytes, address: str) -> bool:
        """Whether the password is right. Raises Throttled."""
        known = self._users.get(user)
        hashed = known or self._nobody
        mark = hmac.digest(self._key, b"\0".join((user.encode(), hashed, password)), "sha256")
        now = self._clock()
        if self._remembered.get(mark, 0.0) > now:
            return True
        if len(password) > MAX_PASSWORD or b"\0" in password:
            return False
        self._spend(address, now)
        if not await self._right(password, hashed) or known is None:
            return False
        self._remembered[mark] = now + REMEMBERED_S
        self._remembered.move_to_end(mark)
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return True

    async def _right(self, password: bytes, hashed: bytes) -> bool:
        if self._waiting >= WAITING:
            raise Throttled
        self._waiting += 1
        try:
            async with self._places:
                return await asyncio.to_thread(bcrypt.checkpw, password, hashed)
        finally:
            self._waiting -= 1

    def _spend(self, address: str, now: float) -> None:
        who = _neighbourhood(address)
        left, at = self._tries.pop(who, (TRIES, now))
        left = min(TRIES, left + (now - at) * TRIES_PER_S)
        self._tries[who] = (max(0.0, left - 1), now)
        while len(self._tries) > MAX_ADDRESSES:
            self._tries.popitem(last=False)
        if left < 1:
            raise Throttled


def _neighbourhood(address: str) -> str:
    """An IPv4 address, or the /64 that one household has."""
    try:
        told = ipaddress.ip_address(address)
    except ValueError:
        return ""
    return str(told) if told.version == 4 else str(ipaddress.ip_network((told, 64), strict=False))
