"""What the server tells systemd about itself. Source: sd_notify(3)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping


class Supervisor:
    """Whoever listens at `NOTIFY_SOCKET`; without one nothing is told."""

    def __init__(self, address: str = "") -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Supervisor:
        """The one of this process."""
        return cls(environment.get("NOTIFY_SOCKET", ""))

    def tell(self, state: str) -> None:
        """Send `READY=1`, `STOPPING=1`, `STATUS=...` or `WATCHDOG=1`. Never fails, never waits."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), self._address)

    def alive(self) -> None:
        """The event loop turns: told once per second by the server's timer."""
        self.tell("WATCHDOG=1")
