"""What the gateway told of itself last, and for how long that counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rop_server.state.record import rfc3339

FRESH_S = 45.0
# What makes an event of a report.
_NEWS = ("reason", "serving")


class GatewayReport:
    """The last report. `clock` gives epoch seconds; `note(type, data)` records an event."""

    def __init__(self, clock: Callable[[], float], note: Callable[[str, dict[str, Any]], None]) -> None:
        self._clock = clock
        self._note = note
        self._status: Mapping[str, Any] | None = None
        self._at = 0.0

    def take(self, status: Mapping[str, Any]) -> None:
        """A report arrived."""
        before, self._status, self._at = self._status or {}, status, self._clock()
        news = {name: status.get(name) for name in _NEWS}
        serial = (status.get("certificate") or {}).get("serial")
        if news != {name: before.get(name) for name in _NEWS} or serial != _serial(before):
            self._note("gateway.changed", {**news, "serial": serial})

    def document(self) -> dict[str, Any]:
        """`present`: a gateway reports; `status`: what it said last, null before the first time."""
        present = self._status is not None and self._clock() - self._at <= FRESH_S
        reported = rfc3339(self._at) if self._status is not None else None
        return {"present": present, "reportedAt": reported, "status": self._status}


def _serial(status: Mapping[str, Any]) -> Any:
    return (status.get("certificate") or {}).get("serial")
