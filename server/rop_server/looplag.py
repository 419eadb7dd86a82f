"""How late the event loop is: the one number that tells whether the process keeps up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

EVERY_S = 0.1
KEPT = 600
SLOW_S = 0.1


class LoopLag:
    """A timer that notes how late it is called; the last minute is kept."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=KEPT)
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.slow = 0

    def start(self) -> None:
        """Begin, on the running loop."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + EVERY_S
        self._timer = loop.call_at(self._due, self._called, loop)

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()

    def _called(self, loop: asyncio.AbstractEventLoop) -> None:
        self.note(max(0.0, loop.time() - self._due))
        self.start()

    def note(self, seconds: float) -> None:
        """One measurement."""
        self._late.append(seconds)
        self.slow += seconds > SLOW_S

    def quantile(self, share: float) -> float:
        """Seconds that this share of the last minute's measurements did not exceed."""
        ordered = sorted(self._late)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        family = GaugeMetricFamily(
            "rop_loop_lag_seconds", "Lateness of the event loop within the last minute", labels=["quantile"]
        )
        for share in (0.5, 0.99, 1.0):
            family.add_metric([f"{share:g}"], self.quantile(share))
        yield family
        yield CounterMetricFamily(
            "rop_loop_slow_turns", f"Times the event loop was more than {SLOW_S:g} s late", value=self.slow
        )
