"""WiFi scans that run, and their results for a while.

Source: ROP v1.0 wire specification, client-api 2.15 and 5; discrepancies B12, B29, C2.13, C3.9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from rop_server.core.facade import CallError
from rop_server.core.wifi import Wifi
from rop_wire import messages
from rop_wire.auth import random_text
from rop_wire.errors import WireError

log = structlog.get_logger("rop.core")

SESSIONS_KEPT = 10_000
_ID_LENGTH = 32


@dataclass(slots=True, eq=False)
class Scan:
    """One scan; `status` is `scanning`, `success`, `error` or `timeout`, `expires_at` epoch seconds; `symbol` says
    why it failed.
    """

    uid: str
    expires_at: float
    id: str = field(default_factory=lambda: random_text(_ID_LENGTH))
    status: str = "scanning"
    symbol: str = "cmd_exec_error"
    networks: tuple[messages.WifiNetwork, ...] = ()
    task: asyncio.Task[None] | None = None


class Scans:
    """Scans by session id, at most one running per device. `clock` gives epoch seconds."""

    def __init__(self, wifi: Wifi, clock: Callable[[], float]) -> None:
        self._wifi = wifi
        self._clock = clock
        self._sessions: dict[str, Scan] = {}
        self._running: dict[str, Scan] = {}

    def start(self, uid: str, life: float, timeout: float, *, wake: bool = True) -> Scan:
        """The running scan of the device, or a new one; `life` and `timeout` in seconds. Raises `CallError`.

        `wake`: whether a sleeping device may be woken.
        """
        self._purge()
        running = self._running.get(uid)
        if running is not None:
            return running
        if len(self._sessions) >= SESSIONS_KEPT:
            self._forget_oldest()
        scan = Scan(uid, self._clock() + life)
        self._sessions[scan.id] = self._running[uid] = scan
        scan.task = asyncio.create_task(self._run(scan, timeout, wake))
        return scan

    def find(self, uid: str, session_id: str) -> Scan:
        """A scan of this device. Raises `CallError("session_not_found")`."""
        self._purge()
        found = self._sessions.get(session_id)
        if found is None or found.uid != uid:
            raise CallError("session_not_found")
        return found

    async def close(self) -> None:
        """End what runs."""
        tasks = [scan.task for scan in self._running.values() if scan.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, scan: Scan, timeout: float, wake: bool) -> None:
        status = "error"
        try:
            scan.networks = await self._wifi.scan(scan.uid, timeout, wake=wake)
            status = "success"
        except CallError as error:
            status = "timeout" if error.symbol == "cmd_timeout" else "error"
            scan.symbol = error.symbol
            log.info("wifi-scan", uid=scan.uid, message="nok", reason=str(error))
        except WireError as error:
            log.info("wifi-scan", uid=scan.uid, message="nok", reason=str(error))
        finally:
            scan.status = status
            self._running.pop(scan.uid, None)

    def _purge(self) -> None:
        now = self._clock()
        for scan in [each for each in self._sessions.values() if each.expires_at <= now]:
            del self._sessions[scan.id]

    def _forget_oldest(self) -> None:
        oldest = next((each for each in self._sessions.values() if each.status != "scanning"), None)
        if oldest is None:
            raise CallError("cmd_exec_error", "too many scans")
        del self._sessions[oldest.id]
