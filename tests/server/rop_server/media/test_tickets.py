"""Tickets: play addresses of one caller, and who may use them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rop_server.access.callers import Caller
from rop_server.core.facade import CallError
from rop_server.media.tickets import MAX_TICKETS_OF_CALLER, Ticket, Tickets, Viewing
from rop_wire.play_url import LivePlay

CALLER = Caller("token wall", lambda uid: True, "192.0.2.1", "rtsps://gw:61004")
PLAY = LivePlay("95270000TICKETS1", 1, "subStream", 0, 0)
HOME, AWAY = Viewing("first", "192.0.2.1"), Viewing("second", "198.51.100.9")


def _refusal(tickets: Tickets, ticket: Ticket, viewing: Viewing, now: float = 0.0) -> str | None:
    try:
        tickets.use(ticket.id, viewing, now)
    except CallError as error:
        return error.symbol
    return None


def test_an_address_of_nobody_else_by_default_is_good_until_it_ends() -> None:
    tickets = Tickets()
    made = tickets.make(PLAY, CALLER, 30.0)
    assert _refusal(tickets, made, HOME) is None
    assert _refusal(tickets, made, AWAY, 29.9) is None
    assert _refusal(tickets, made, HOME, 30.0) == "session_expired"
    tickets.tick(30.0)
    assert len(tickets) == 0


def test_a_single_viewer() -> None:
    tickets = Tickets()
    made = tickets.make(PLAY, replace(CALLER, single_viewer=True), 30.0)
    assert _refusal(tickets, made, HOME) is None
    assert _refusal(tickets, made, HOME) is None  # the same connection describes again
    assert _refusal(tickets, made, AWAY) == "auth_failed"
    assert _refusal(tickets, made, Viewing("third", HOME.address)) == "auth_failed"


def test_bound_to_the_address_of_the_caller() -> None:
    tickets = Tickets()
    made = tickets.make(PLAY, replace(CALLER, bind_to_address=True, single_viewer=True), 30.0)
    assert _refusal(tickets, made, AWAY) == "auth_failed"
    assert _refusal(tickets, made, Viewing("unknown", None)) == "auth_failed"
    assert _refusal(tickets, made, HOME) is None  # those before did not use it up


def test_withdrawn_with_the_right_of_the_caller() -> None:
    tickets = Tickets()
    made, other = tickets.make(PLAY, CALLER, 30.0), tickets.make(PLAY, replace(CALLER, name="user bob"), 30.0)
    tickets.withdraw(CALLER.name)
    assert _refusal(tickets, made, HOME) == "session_expired"
    assert _refusal(tickets, other, HOME) is None


def test_a_caller_cannot_have_all_of_them() -> None:
    tickets = Tickets()
    for _ in range(MAX_TICKETS_OF_CALLER):
        tickets.make(PLAY, CALLER, 30.0)
    with pytest.raises(CallError) as caught:
        tickets.make(PLAY, CALLER, 30.0)
    assert caught.value.symbol == "frequent_request"
    tickets.make(PLAY, replace(CALLER, name="user bob"), 30.0)
    tickets.tick(30.0)
    tickets.make(PLAY, CALLER, 60.0)
