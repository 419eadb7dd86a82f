"""When a battery device is woken and when it is sent to sleep: decisions with time as an argument.

Source: ROP v1.0 wire specification, device-protocol 9.4 and 9.6.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from rop_server.core.connection import Connection


class WakePhase(Enum):
    """How far a wake-up has come."""

    ASKED = "asked"
    ANSWERED = "answered"
    DONE = "done"


class Wake:
    """One wake-up of one device, shared by every call that needs it.

    `asked` -> (response) -> `answered` -> (signaling handshake) -> `done`. Each listener is called once,
    with a connection or with the symbol of the failure.
    """

    __slots__ = ("_connect_limit", "_listeners", "deadline", "phase")

    def __init__(self, now: float, answer_limit: float, connect_limit: float) -> None:
        self.phase = WakePhase.ASKED
        self.deadline = now + answer_limit
        self._connect_limit = connect_limit
        self._listeners: list[Callable[[Connection | str], None]] = []

    def listen(self, listener: Callable[[Connection | str], None]) -> None:
        """Be told how it ends."""
        self._listeners.append(listener)

    def forget(self, listener: Callable[[Connection | str], None]) -> None:
        """A caller went away; the wake-up itself goes on."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def answered(self, now: float) -> None:
        """The device confirmed on 61003; from now on it has `connect_limit` seconds to appear."""
        if self.phase is WakePhase.ASKED:
            self.phase = WakePhase.ANSWERED
            self.deadline = now + self._connect_limit

    def connected(self, connection: Connection) -> None:
        """The signaling handshake arrived, whether or not the response did."""
        self._finish(connection)

    def failed(self, symbol: str) -> None:
        """It cannot succeed any more."""
        self._finish(symbol)

    def tick(self, now: float) -> bool:
        """True when it is over; a passed deadline ends it."""
        if self.phase is not WakePhase.DONE and now >= self.deadline:
            self._finish("cmd_timeout" if self.phase is WakePhase.ASKED else "wake_up_timeout")
        return self.phase is WakePhase.DONE

    def _finish(self, result: Connection | str) -> None:
        if self.phase is WakePhase.DONE:
            return
        self.phase = WakePhase.DONE
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener(result)


def should_sleep(now: float, active_at: float, keep_before: float, waiting: int, idle: float) -> bool:
    """True when an idle battery device is to be sent to sleep.

    `active_at` last activity, `keep_before` the moment a play session holds it awake until, `waiting`
    requests on its way, `idle` the configured seconds.
    """
    return waiting == 0 and now >= keep_before and now - active_at >= idle
