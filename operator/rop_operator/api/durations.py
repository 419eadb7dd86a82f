"""Durations as Go writes them: `90s`, `1h30m`, `250ms`."""

from __future__ import annotations

import re

DURATION = r"([0-9]+(\.[0-9]+)?(ms|s|m|h))+"
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_WHOLE = re.compile(DURATION)


def parse_duration(text: str) -> float:
    """Seconds of a Go duration. ValueError when it is none."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"not a duration: {text!r}")
    return round(sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text)), 3)


def format_duration(seconds: float) -> str:
    """The shortest Go duration of whole milliseconds: 90 -> `1m30s`, 3600 -> `1h`, 0.25 -> `250ms`."""
    milliseconds = round(seconds * 1000)
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
