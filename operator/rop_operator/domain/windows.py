"""Maintenance windows: whether one is open, for whom, and when the next one opens. Time is an argument."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from rop_operator.api.durations import parse_duration
from rop_operator.api.rollout import Window


def window_problem(window: Window, now: datetime) -> str | None:
    """Why a window can never be used, None when it can."""
    try:
        zone = ZoneInfo(window.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        return f"there is no time zone {window.time_zone} here"
    try:
        next(CronSim(window.schedule, now.astimezone(zone)))
    except CronSimError as error:
        return f"schedule {window.schedule}: {error}"
    except StopIteration:
        return f"schedule {window.schedule} never comes"
    if parse_duration(window.cutoff) >= parse_duration(window.duration):
        return "cutoff leaves nothing of duration: no camera could begin"
    return None


def opened(windows: Sequence[Window], now: datetime) -> list[tuple[Window, datetime]]:
    """Windows that are open now, each with the earliest opening that still counts, UTC."""
    found = []
    for window in windows:
        usable = parse_duration(window.duration) - parse_duration(window.cutoff)
        since = (now - timedelta(seconds=usable)).astimezone(ZoneInfo(window.time_zone))
        first = next(CronSim(window.schedule, since)).astimezone(UTC)
        if first <= now:
            found.append((window, first))
    return found


def turn(openings: Sequence[tuple[Window, datetime]], now: datetime, key: str) -> bool:
    """Whether it is `key`'s turn in one of these: each begins at its own moment within the jitter."""
    return any(
        first + timedelta(seconds=spread(key) * parse_duration(window.jitter)) <= now for window, first in openings
    )


def next_opening(windows: Sequence[Window], now: datetime) -> datetime | None:
    """When the next window opens, UTC; None without windows."""
    found = [next(CronSim(each.schedule, now.astimezone(ZoneInfo(each.time_zone)))) for each in windows]
    return min(found).astimezone(UTC) if found else None


def spread(key: str) -> float:
    """A number from 0 to 1 that is always the same for a key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
