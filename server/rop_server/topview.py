"""One picture of `rop-server top`, out of two readings of the metrics page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A reading: value by name and labels, at a monotonic time."""

    at: float
    values: Mapping[tuple[str, Labels], float]

    @classmethod
    def read(cls, page: str, at: float) -> Sample:
        """Parse a metrics page."""
        found: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(page):
            for each in family.samples:
                found[each.name, tuple(sorted(each.labels.items()))] = each.value
        return cls(at, found)

    def value(self, name: str, **labels: str) -> float:
        """A value, 0 when the page has none."""
        return self.values.get((name, tuple(sorted(labels.items()))), 0.0)

    def total(self, name: str) -> float:
        """A value summed over its labels."""
        return sum(value for (each, _), value in self.values.items() if each == name)


def render(before: Sample | None, now: Sample) -> str:
    """The picture. Rates need an earlier reading; without one they are shown as `-`."""

    def rate(name: str, scale: float = 1.0) -> str:
        if before is None or now.at <= before.at:
            return "-"
        return f"{(now.total(name) - before.total(name)) / (now.at - before.at) * scale:.1f}/s"

    states = "  ".join(
        f"{state} {now.value('rop_devices', state=state):.0f}" for state in ("Online", "Asleep", "Offline")
    )
    lag = [f"{now.value('rop_loop_lag_seconds', quantile=each) * 1000:.1f}" for each in ("0.5", "0.99", "1")]
    slow = now.total("rop_loop_slow_turns_total")
    rows = [
        ("devices", states),
        ("traffic", f"handshakes {rate('rop_device_handshakes_total')}  wakes {rate('rop_device_wakes_total')}"),
        ("streams", f"{now.total('rop_streams'):.0f}  viewers {now.total('rop_stream_viewers'):.0f}"),
        ("media", _media(now, rate("rop_stream_received_bytes_total", 8e-6), rate("rop_stream_frames_total"))),
        ("alarms", _alarms(now, rate("rop_device_alarms_total"))),
        (
            "loop",
            f"lag ms p50 {lag[0]}  p99 {lag[1]}  max {lag[2]}  slow {slow:.0f}",
        ),
        ("process", _process(before, now)),
    ]
    return "\n".join(f"{name:<9}{text}" for name, text in rows)


def _media(now: Sample, megabits: str, frames: str) -> str:
    dropped = now.total("rop_stream_dropped_frames_total")
    return f"Mbit {megabits}  frames {frames}  dropped for slow viewers {dropped:.0f}"


def _alarms(now: Sample, rate: str) -> str:
    waiting, dead = now.total("rop_alarms_queued"), now.total("rop_alarms_dead")
    return f"raised {rate}  waiting {waiting:.0f}  dead {dead:.0f}"


def _process(before: Sample | None, now: Sample) -> str:
    memory = now.total("process_resident_memory_bytes") / 2**20
    files = now.total("process_open_fds")
    share = "-"
    if before is not None and now.at > before.at:
        used = now.total("process_cpu_seconds_total") - before.total("process_cpu_seconds_total")
        share = f"{used / (now.at - before.at) * 100:.0f} %"
    return f"CPU {share}  memory {memory:.0f} MiB  files {files:.0f}"
