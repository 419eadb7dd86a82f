"""Which devices are connected right now, and what their handshakes said.

Source: ROP v1.0 wire specification, device-protocol 5 and 7; discrepancies C3.6, C3.13 to C3.15.
"""

from __future__ import annotations

from dataclasses import dataclass

from rop_server.core.connection import KEEP_ALIVE, SIGNALING, Connection
from rop_server.core.facade import Battery, DeviceLink
from rop_wire.messages import Support


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a handshake says of its device; members it lacks are None."""

    uid: str
    family: str | None = None
    model: str | None = None
    firmware: str | None = None
    hardware: str | None = None
    network: str | None = None


class Entry:
    """A connected device. It lives from its first connection to its last."""

    __slots__ = (
        "_link",
        "announcement",
        "battery",
        "keep_alive",
        "signaling",
        "since",
        "support",
        "wired",
    )

    def __init__(self, announcement: Announcement, since: float) -> None:
        self.announcement = announcement
        self.since = since
        self.signaling: Connection | None = None
        self.keep_alive: Connection | None = None
        self.battery: Battery | None = None
        self.support: Support | None = None
        self.wired = False
        self._link: DeviceLink | None = None

    @property
    def sleeps(self) -> bool:
        """True for the battery family, which is put to sleep when idle."""
        return self.announcement.family == "battery"

    def touch(self) -> None:
        """Forget the cached link: something changed."""
        self._link = None

    def link(self) -> DeviceLink:
        """The facts as a value; made when asked for and kept until something changes."""
        if self._link is None:
            best = self.signaling or self.keep_alive
            certificate = self.signaling.certificate if self.signaling is not None else None
            told = self.announcement
            self._link = DeviceLink(
                uid=told.uid,
                family=told.family,
                model=told.model,
                firmware=told.firmware,
                hardware=told.hardware,
                signaling=self.signaling is not None,
                keep_alive=self.keep_alive is not None,
                since=self.since,
                address=best.address if best is not None else None,
                battery=self.battery,
                certificate_serial=certificate.serial if certificate is not None else None,
                certificate_not_after=certificate.not_after if certificate is not None else None,
                wired=self.wired,
                key_index=self.keep_alive.key_index or None if self.keep_alive is not None else None,
            )
        return self._link


class Registry:
    """Connected devices in order of arrival."""

    __slots__ = ("_entries", "_online", "revision")

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._online: tuple[DeviceLink, ...] | None = ()
        self.revision = 0

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, uid: str) -> Entry | None:
        """The device, None when it has no connection."""
        return self._entries.get(uid)

    def online(self) -> tuple[DeviceLink, ...]:
        """Every connected device, in order of arrival."""
        if self._online is None:
            self._online = tuple(entry.link() for entry in self._entries.values())
        return self._online

    def attach(self, connection: Connection, announcement: Announcement, at: float) -> Connection | None:
        """A handshake arrived. Returns the older connection of that kind, which the caller closes.

        A second handshake on the same connection is an update. `at` is epoch seconds.
        """
        entry = self._entries.get(announcement.uid)
        if entry is None:
            entry = self._entries[announcement.uid] = Entry(announcement, at)
        if entry.announcement.firmware != announcement.firmware:
            entry.support = None  # other firmware can do other things
        entry.announcement = announcement
        if connection.transport_kind == SIGNALING:
            older, entry.signaling = entry.signaling, connection
        else:
            older, entry.keep_alive = entry.keep_alive, connection
        self._changed(entry)
        return older if older is not connection else None

    def detach(self, connection: Connection) -> bool:
        """A connection ended. False when a newer one had replaced it already."""
        entry = self._entries.get(connection.uid)
        if entry is None:
            return False
        if connection.transport_kind == SIGNALING and entry.signaling is connection:
            entry.signaling = None
            entry.wired = False
        elif connection.transport_kind == KEEP_ALIVE and entry.keep_alive is connection:
            entry.keep_alive = None
        else:
            return False
        if entry.signaling is None and entry.keep_alive is None:
            del self._entries[connection.uid]
        self._changed(entry)
        return True

    def report_battery(self, uid: str, battery: Battery) -> None:
        """Keep the last battery report. Only new values move `revision`, not their time alone."""
        entry = self._entries.get(uid)
        if entry is None:
            return
        before = entry.battery
        entry.battery = battery
        entry.touch()
        self._online = None
        if before is None or (before.percent, before.charge) != (battery.percent, battery.charge):
            self.revision += 1

    def report_network(self, uid: str, wired: bool) -> None:
        """Keep whether the device uses its wired network; not part of the list clients see."""
        entry = self._entries.get(uid)
        if entry is not None and entry.wired != wired:
            entry.wired = wired
            entry.touch()
            self._online = None

    def _changed(self, entry: Entry) -> None:
        entry.touch()
        self._online = None
        self.revision += 1
