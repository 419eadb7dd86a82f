"""Tickets: play addresses of one caller. Each leads to the stream that everybody shares, for a short time, and
where that is wanted for one client address or one viewer alone.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from rop_server.access.callers import Caller
from rop_server.core.facade import CallError
from rop_wire.play_url import LivePlay, RecordPlay

MAX_TICKETS = 20_000
MAX_TICKETS_OF_CALLER = 512


@dataclass(frozen=True, slots=True)
class Viewing:
    """Who comes with an address: its RTSP connection, and the client address it comes from."""

    connection: Hashable
    address: str | None


@dataclass(slots=True)
class Ticket:
    """One address. `play` tells what it leads to; `expires_at` is epoch seconds; `holder`: who used it first."""

    id: str
    play: LivePlay | RecordPlay
    caller: Caller
    expires_at: float
    holder: Hashable | None = field(default=None)


class Tickets:
    """The tickets that are still good. Wall-clock seconds come as arguments."""

    def __init__(self) -> None:
        self._tickets: dict[str, Ticket] = {}
        self._of_caller: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._tickets)

    def make(self, play: LivePlay | RecordPlay, caller: Caller, expires_at: float) -> Ticket:
        """A new ticket. Raises CallError `frequent_request` for a caller who has too many."""
        if len(self._tickets) >= MAX_TICKETS or self._of_caller[caller.name] >= MAX_TICKETS_OF_CALLER:
            raise CallError("frequent_request", "too many play addresses")
        made = Ticket(secrets.token_urlsafe(18), play, caller, expires_at)
        self._tickets[made.id] = made
        self._of_caller[caller.name] += 1
        return made

    def use(self, id_: str, viewing: Viewing, now: float) -> Ticket:
        """The ticket, if this viewer may use it. Raises CallError `session_expired` or `auth_failed`."""
        ticket = self._tickets.get(id_)
        if ticket is None or now >= ticket.expires_at:
            raise CallError("session_expired")
        caller = ticket.caller
        if caller.bind_to_address and viewing.address != caller.address:
            raise CallError("auth_failed", "from another address")
        if caller.single_viewer and ticket.holder not in (None, viewing.connection):
            raise CallError("auth_failed", "used before")
        ticket.holder = viewing.connection
        return ticket

    def withdraw(self, caller: str) -> None:
        """Forget what a caller has."""
        for ticket in [each for each in self._tickets.values() if each.caller.name == caller]:
            self._drop(ticket)

    def tick(self, now: float) -> None:
        """Forget what has expired."""
        for ticket in [each for each in self._tickets.values() if now >= each.expires_at]:
            self._drop(ticket)

    def _drop(self, ticket: Ticket) -> None:
        del self._tickets[ticket.id]
        self._of_caller[ticket.caller.name] -= 1
        if not self._of_caller[ticket.caller.name]:
            del self._of_caller[ticket.caller.name]
