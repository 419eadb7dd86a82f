"""What a service tells systemd about itself. Source: sd_notify(3), sd_watchdog_enabled(3)."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping


class Supervisor:
    """Whoever listens at `NOTIFY_SOCKET`; without one nothing is told."""

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog = watchdog

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Supervisor":
        """The one of this process. `WATCHDOG_USEC` is how often it must hear from us, in microseconds."""
        usec = environment.get("WATCHDOG_USEC", "")
        return cls(environment.get("NOTIFY_SOCKET", ""), int(usec) / 1e6 if usec.isdecimal() else 0.0)

    def tell(self, state: str) -> None:
        """Send `READY=1`, `STOPPING=1`, `STATUS=...` or `WATCHDOG=1`. Never fails, never waits."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), self._address)

    async def feed_watchdog(self, stop: asyncio.Event) -> None:
        """Until `stop`: say that the event loop turns, three times as often as is asked for."""
        while not stop.is_set():
            self.tell("WATCHDOG=1")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._watchdog / 3 if self._watchdog else None)
