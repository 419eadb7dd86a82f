"""Who gets a device certificate or the keys of the encrypted transport: the decisions behind 61001 and 61002.

Source: ROP v1.0 wire specification, device-protocol 2.2 and 2.3, pki-and-config 4; discrepancies B3 to B6,
C2.1, C2.2, C3.7.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rop_wire import auth, provisioning
from rop_wire.encrypted import access_key, secret_access_key
from rop_wire.errors import WireError
from rop_wire.symbols import SYMBOLS

from rop_server.core.facade import Admission, CallError, CoreEvents, IssuedCode
from rop_server.core.hub import Clock
from rop_server.core.settings import Settings

GUESSES_PER_MINUTE = 20
ADDRESSES_REMEMBERED = 4096
SHORT_CODE_LENGTH = 8


class Issued(Protocol):
    """What signing a device certificate yields; times are epoch seconds."""

    serial: str
    key_pem: str
    chain_pem: str
    not_after: float
    issuer: str


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and JSON body of an HTTPS service."""

    status: int
    body: bytes


class GuessLimiter:
    """Counts failed authorization attempts by address. Bounded memory; time is an argument."""

    __slots__ = ("_failures",)

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def blocked(self, address: str, now: float) -> bool:
        """True when this address has failed too often within the running minute."""
        began, count = self._failures.get(address, (now, 0))
        return count >= GUESSES_PER_MINUTE and now - began < 60

    def failed(self, address: str, now: float) -> None:
        """Count one failure."""
        began, count = self._failures.pop(address, (now, 0))
        if now - began >= 60:
            began, count = now, 0
        self._failures[address] = (began, count + 1)
        if len(self._failures) > ADDRESSES_REMEMBERED:
            self._failures.popitem(last=False)
