"""What clients asked and how upgrades ended, for the metrics page. Labels are bounded: templates, never paths."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from rop_server.client.app import COUNTS
from rop_server.core.upgrades import Upgrades


class ClientReport:
    """Reads everything when asked for."""

    def __init__(self, app: web.Application, upgrades: Upgrades) -> None:
        self._counts = app[COUNTS]
        self._upgrades = upgrades

    def families(self) -> Iterator[Metric]:
        """The metric families."""
        calls = CounterMetricFamily(
            "rop_client_calls", "Calls of the client interface", labels=["method", "path", "status"]
        )
        for (method, template, status), count in self._counts.items():
            calls.add_metric([method, template, str(status)], count)
        yield calls
        yield GaugeMetricFamily("rop_upgrades_running", "Upgrades without a verdict", value=self._upgrades.running)
        ended = CounterMetricFamily("rop_upgrades", "Upgrades by how they ended", labels=["status"])
        for word, count in self._upgrades.counts.items():
            ended.add_metric([word], count)
        yield ended
