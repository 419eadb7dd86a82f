"""Metrics of the server in a registry of its own. Labels are bounded; a UID is one only where it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics

from rop_server.core.facade import Devices
from rop_server.state.book import FactsBook

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
Source = Callable[[], Iterable[Metric]]
STATES = ("Online", "Asleep", "Offline", "NeverSeen")
_COUNTERS = {
    "connected": ("rop_device_handshakes", "Device handshakes", ("transport",)),
    "disconnected": ("rop_device_disconnects", "Device connections that ended", ("transport",)),
    "woken": ("rop_device_wakes", "Wake-ups sent to battery devices", ()),
    "alarm": ("rop_device_alarms", "Alarms raised by devices", ()),
    "certificate": ("rop_device_certificates", "Device certificates issued", ("by",)),
    "code": ("rop_codes", "Short-term codes by what happened to them", ("what",)),
    "refused": ("rop_device_refusals", "Devices refused", ("port", "reason")),
}


class AlarmCounts(Protocol):
    """What metrics need of the alarm sender."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Alarms by outcome."""
        ...

    @property
    def queued(self) -> int:
        """Alarms that wait."""
        ...

    @property
    def dropped(self) -> Mapping[str, int]:
        """Alarms lost to a bound, by bound."""
        ...

    def status(self) -> list[dict[str, Any]]:
        """Each sink: `name, address (masked), enabled, down, waiting, oldest, dead, last, counts`."""
        ...


class Metrics:
    """Renders the metrics page. Everything is read when asked for; nothing is counted twice."""

    def __init__(
        self,
        devices: Devices,
        book: FactsBook,
        alarms: AlarmCounts | None = None,
        certificate_ends: Callable[[], float | None] = lambda: None,
        more: Sequence[Source] = (),
    ) -> None:
        self._devices = devices
        self._book = book
        self._alarms = alarms
        self._certificate_ends = certificate_ends
        self._more = more
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(self)

    def page(self, accept: str = "", by_device: bool = False) -> tuple[bytes, str]:
        """The metrics page as the caller asked for it, and its content type. `by_device`: families with UIDs."""
        registry: Any = _Both(self.registry, DeviceMetrics(self._devices)) if by_device else self.registry
        if "application/openmetrics-text" in accept:
            body: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
            return body, OPEN_METRICS
        return generate_latest(registry), CONTENT_TYPE

    def collect(self) -> Iterator[Metric]:
        """The collector protocol of prometheus_client."""
        yield from self._gauges()
        for families in self._more:
            yield from families()
        for name, (metric, text, labels) in _COUNTERS.items():
            family = CounterMetricFamily(metric, text, labels=labels)
            for key, count in self._book.counts.items():
                if key[0] == name:
                    family.add_metric(key[1:], count)
            yield family
        if self._alarms is not None:
            yield from _sinks(self._alarms)
            sent = CounterMetricFamily(
                "rop_alarm_deliveries", "Alarms by outcome at the webhook", labels=["outcome"]
            )
            for outcome in ("sent", "refused", "retried", "dead", "revived", "dropped"):
                sent.add_metric([outcome], self._alarms.counts.get(outcome, 0))
            yield sent
            yield GaugeMetricFamily(
                "rop_alarms_queued", "Alarms that wait for the webhook", value=self._alarms.queued
            )

    def _gauges(self) -> Iterator[Metric]:
        states = self._book.states()
        family = GaugeMetricFamily("rop_devices", "Devices of the book by state", labels=["state"])
        for state in STATES:
            family.add_metric([state], states.get(state, 0))
        yield family
        yield GaugeMetricFamily(
            "rop_devices_connected", "Devices connected now", value=len(self._devices.online())
        )
        yield GaugeMetricFamily("rop_event_sequence", "Number of the next event", value=self._book.journal.next)
        ends = self._certificate_ends()
        if ends is not None:
            yield GaugeMetricFamily(
                "rop_server_certificate_not_after_seconds",
                "End of the server certificate, epoch seconds",
                value=ends,
            )

    def describe(self) -> list[Metric]:
        """Nothing is collected at registration."""
        return []


class DeviceMetrics:
    """Connected devices, one sample each; cost and size grow with the fleet."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    def collect(self) -> Iterator[Metric]:
        """The collector protocol of prometheus_client."""
        up = GaugeMetricFamily("rop_device_up", "Connected devices; 0: asleep", labels=["uid"])
        since = GaugeMetricFamily("rop_device_since_seconds", "Connected since, epoch seconds", labels=["uid"])
        battery = GaugeMetricFamily("rop_device_battery_ratio", "Battery as last told", labels=["uid"])
        for link in self._devices.online():
            up.add_metric([link.uid], float(not link.asleep))
            since.add_metric([link.uid], link.since)
            if link.battery is not None:
                battery.add_metric([link.uid], link.battery.percent / 100)
        yield from (up, since, battery)


class _Both:
    """Collectors read as one."""

    def __init__(self, *collectors: Any) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        for collector in self._collectors:
            yield from collector.collect()


def _sinks(alarms: AlarmCounts) -> Iterator[Metric]:
    """Receivers of alarms, by their names in the configuration."""
    told = alarms.status()
    for name, text, member in (
        ("rop_alarm_sink_waiting", "Alarms that wait for a receiver", "waiting"),
        ("rop_alarm_sink_dead", "Alarms given up that a replay can bring back", "dead"),
        ("rop_alarm_sink_down", "Whether a receiver fails all the time", "down"),
    ):
        family = GaugeMetricFamily(name, text, labels=["sink"])
        for sink in told:
            family.add_metric([sink["name"]], float(sink[member]))
        yield family
    dead = sum(sink["dead"] for sink in told)
    yield GaugeMetricFamily("rop_alarms_dead", "Alarms given up, over all receivers", value=dead)
    lost = CounterMetricFamily("rop_alarms_dropped", "Alarms lost to a bound", labels=["reason"])
    for reason, count in alarms.dropped.items():
        lost.add_metric([reason], count)
    yield lost
