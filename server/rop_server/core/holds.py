"""Cameras whose firmware is somebody's business for a while: upgrades asked for by others are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

MAX_HOLDERS = 100


@dataclass(frozen=True, slots=True)
class Hold:
    """`until` in monotonic seconds."""

    holder: str
    until: float


class Holds:
    """One holder per camera; the first one keeps it. A holder that is not heard of any more loses its cameras."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._holds: dict[str, Hold] = {}

    def take(self, holder: str, uids: Iterable[str], seconds: float) -> None:
        """`holder` has these and no others from now on, but for those that somebody else has."""
        self._expire()
        kept = {uid: hold for uid, hold in self._holds.items() if hold.holder != holder}
        until = self._monotonic() + seconds
        self._holds = {uid: Hold(holder, until) for uid in uids if uid not in kept} | kept

    def holder(self, uid: str) -> str | None:
        """Who has it."""
        found = self._holds.get(uid)
        return found.holder if found is not None and found.until > self._monotonic() else None

    def all(self) -> dict[str, str]:
        """Holder by UID."""
        self._expire()
        return {uid: hold.holder for uid, hold in self._holds.items()}

    def _expire(self) -> None:
        now = self._monotonic()
        self._holds = {uid: hold for uid, hold in self._holds.items() if hold.until > now}
