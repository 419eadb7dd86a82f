"""What the gateway tells systemd about itself. Source: sd_notify(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket


def tell(state: str) -> None:
    """Send `READY=1`, `STOPPING=1` or `WATCHDOG=1` to whoever started us. Never fails, never waits."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(state.encode(), address)


async def feed_watchdog(stop: asyncio.Event) -> None:
    """Until `stop`: say that the event loop turns, three times as often as `WATCHDOG_USEC` asks for."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    while usec.isdecimal() and not stop.is_set():
        tell("WATCHDOG=1")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), int(usec) / 3e6)
