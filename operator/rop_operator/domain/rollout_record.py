"""What a rollout remembers of each camera (`status.observed`), and how observations move it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rop_operator.api.facts import DeviceFacts, UpgradeFacts
from rop_operator.domain.conditions import moment_of, timestamp

# Source: ROP v1.0 wire specification, device-protocol 10.11, client-api 2.14.
# Reason, and whether trying again helps.
CODES: Mapping[str, tuple[str, bool]] = {
    "same_version": ("SameVersion", False),
    "file_check_failed": ("FileCheckFailed", False),
    "failed": ("UpgradeFailed", True),
    "out_of_memory": ("OutOfMemory", True),
    "focus_error": ("FocusError", False),
    "low_battery": ("LowBattery", True),
}
PRESENT = ("Online", "Asleep")
BACKOFF = timedelta(seconds=60)
# Between an order and the moment the server must know of it; and until a device must be back.
ORDERED = timedelta(seconds=15)
VERDICT = timedelta(seconds=300)
# The list of devices may be older than that of upgrades.
SETTLING = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Try:
    """One camera under way. `known`: the server had the upgrade."""

    at: datetime
    before: str | None
    tries: int
    known: bool = False

    def to_status(self) -> dict[str, Any]:
        """As it is kept."""
        return {"at": timestamp(self.at), "before": self.before, "tries": self.tries, "known": self.known}


@dataclass(frozen=True, slots=True)
class Miss:
    """A try that failed."""

    at: datetime
    reason: str
    tries: int

    def to_status(self) -> dict[str, Any]:
        """As it is kept."""
        return {"at": timestamp(self.at), "reason": self.reason, "tries": self.tries}


@dataclass
class Record:
    """Cameras by name; each is in at most one of these, or waits."""

    running: dict[str, Try] = field(default_factory=dict)
    again: dict[str, Miss] = field(default_factory=dict)
    failed: dict[str, Miss] = field(default_factory=dict)
    updated: set[str] = field(default_factory=set)
    already: set[str] = field(default_factory=set)
    waves: list[list[str]] = field(default_factory=list)
    met_at: datetime | None = None
    late: int = 0
    held_at: datetime | None = None
    took: list[float] = field(default_factory=lambda: [0, 0.0])

    @classmethod
    def of(cls, kept: Mapping[str, Any], now: datetime) -> Record:
        """As it was kept; whatever cannot be read is forgotten, for observation will tell again."""
        running = {
            name: Try(_at(e, now), e.get("before"), int(e.get("tries", 1)), e.get("known") is True)
            for name, e in _entries(kept, "running")
        }
        misses = {
            key: {
                name: Miss(_at(e, now), str(e.get("reason")), int(e.get("tries", 1)))
                for name, e in _entries(kept, key)
            }
            for key in ("again", "failed")
        }
        took = kept.get("took")
        return cls(
            running=running,
            again=misses["again"],
            failed=misses["failed"],
            updated=set(kept.get("updated") or ()),
            already=set(kept.get("already") or ()),
            waves=[list(wave) for wave in kept.get("waves") or ()],
            met_at=moment_of(kept.get("metAt")),
            late=int(kept.get("late") or 0),
            held_at=moment_of(kept.get("heldAt")),
            took=list(took) if isinstance(took, list) and len(took) == 2 else [0, 0.0],
        )

    def to_status(self) -> dict[str, Any]:
        """For `Step.record`: equal facts give equal values."""
        return {
            "running": {name: entry.to_status() for name, entry in sorted(self.running.items())},
            "again": {name: entry.to_status() for name, entry in sorted(self.again.items())},
            "failed": {name: entry.to_status() for name, entry in sorted(self.failed.items())},
            "updated": sorted(self.updated),
            "already": sorted(self.already),
            "waves": self.waves,
            "metAt": timestamp(self.met_at) if self.met_at else None,
            "late": self.late,
            "heldAt": timestamp(self.held_at) if self.held_at else None,
            "took": [self.took[0], round(self.took[1], 1)],
        }

    @property
    def done(self) -> set[str]:
        """Cameras that run the image."""
        return self.updated | self.already

    def observe(
        self,
        name: str,
        version: str,
        device: DeviceFacts | None,
        upgrade: UpgradeFacts | None,
        attempts: int,
        now: datetime,
    ) -> None:
        """Move one camera to where what is seen puts it. `upgrade` is this rollout's own, if the server has it."""
        runs = device is not None and device.firmware == version
        if name in self.running:
            self._under_way(name, version, device, upgrade, attempts, now)
        elif name in self.failed:
            if runs:
                del self.failed[name]
                self.updated.add(name)
                self.late += 1
        elif name in self.updated:
            if device is not None and device.firmware and not runs:
                self.updated.discard(name)
                self.failed[name] = Miss(now, "FellBack", attempts)
        elif name in self.already:
            if device is not None and device.firmware and not runs:
                self.already.discard(name)
        elif runs:
            self.again.pop(name, None)
            self.already.add(name)

    def _under_way(
        self,
        name: str,
        version: str,
        device: DeviceFacts | None,
        upgrade: UpgradeFacts | None,
        attempts: int,
        now: datetime,
    ) -> None:
        entry = self.running[name]
        firmware = device.firmware if device is not None else None
        if firmware == version:
            del self.running[name]
            self.updated.add(name)
            self.took = [self.took[0] + 1, self.took[1] + (now - entry.at).total_seconds()]
            return
        if upgrade is None or (upgrade.began_at is not None and upgrade.began_at < entry.at - ORDERED):
            self._unknown(name, entry, device, attempts, now)
            return
        if not entry.known:
            self.running[name] = replace(entry, known=True)
        ended = upgrade.ended_at or now
        if upgrade.status in CODES:
            reason, passing = CODES[upgrade.status]
            self._miss(name, reason, passing, attempts, now)
        elif upgrade.status != "upgrading" and now - ended >= SETTLING:
            self._returned(name, entry, device, attempts, now)

    def _returned(self, name: str, entry: Try, device: DeviceFacts | None, attempts: int, now: datetime) -> None:
        """The server waits no longer: the camera is back with another text, or the old one, or not at all."""
        if device is None or device.state not in PRESENT:
            self._miss(name, "NotReturned", False, attempts, now)
        elif device.firmware != entry.before:
            self._miss(name, "UnexpectedVersion", False, attempts, now)
        else:
            self._miss(name, "FellBack", True, attempts, now)

    def _unknown(self, name: str, entry: Try, device: DeviceFacts | None, attempts: int, now: datetime) -> None:
        """The server has no such upgrade: it never began one, or was restarted and forgot."""
        if not entry.known:
            if now - entry.at >= ORDERED:
                del self.running[name]
                self.again[name] = Miss(now, "NotStarted", entry.tries - 1)
        elif now - entry.at >= VERDICT:
            present = device is not None and device.state in PRESENT
            self._miss(name, "Interrupted" if present else "NotReturned", present, attempts, now)

    def _miss(self, name: str, reason: str, passing: bool, attempts: int, now: datetime) -> None:
        tries = self.running.pop(name).tries
        where = self.again if passing and tries < attempts else self.failed
        where[name] = Miss(now, reason, tries)

    def waits(self, name: str, now: datetime) -> bool:
        """Whether a camera rests between two tries."""
        miss = self.again.get(name)
        return miss is not None and now < miss.at + BACKOFF * 2 ** (miss.tries - 1)

    def start(self, name: str, before: str | None, now: datetime) -> None:
        """A camera is about to be ordered to."""
        miss = self.again.pop(name, None)
        self.running[name] = Try(now, before, (miss.tries if miss else 0) + 1)

    def forget(self, names: set[str]) -> None:
        """Keep only these cameras."""
        for entries in (self.running, self.again, self.failed):
            for name in [each for each in entries if each not in names]:
                del entries[name]
        self.updated &= names
        self.already &= names


def older(one: str, other: str) -> bool:
    """Whether version text `one` is before `other`: numbers compared in order; False when either has none."""
    left, right = (tuple(int(n) for n in re.findall(r"\d{1,12}", text)) for text in (one, other))
    return bool(left) and bool(right) and left < right


def _entries(kept: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    value = kept.get(key)
    return [(n, e) for n, e in value.items() if isinstance(e, Mapping)] if isinstance(value, Mapping) else []


def _at(entry: Mapping[str, Any], now: datetime) -> datetime:
    return moment_of(entry.get("at")) or now
