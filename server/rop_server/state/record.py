"""What is known of one device, and its document on the management interface."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from sys import intern
from typing import Any

from rop_server.core.facade import Battery, DeviceLink
from rop_wire.messages import Channel, Support

_TEXTS = ("family", "model", "firmware", "hardware", "address")
_TIMES = ("first_seen", "last_seen", "since", "connected_at", "registered_at", "last_wake")
_STORED = (*_TEXTS, *_TIMES, "pinned_root", "channels", "wired", "key_index")
# A recorder has some dozens of channels; a device that lists more is not believed further.
MAX_CHANNELS = 64
ONLINE, ASLEEP, OFFLINE, NEVER_SEEN = "Online", "Asleep", "Offline", "NeverSeen"


# Devices say what they like; their texts are kept up to this length.
MAX_TEXT = 256


def bounded(value: object) -> object:
    """A value of a device, text cut to `MAX_TEXT` characters."""
    return value[:MAX_TEXT] if isinstance(value, str) else value


def rfc3339(at: float | None) -> str | None:
    """Epoch seconds as UTC text with milliseconds; None stays None."""
    if at is None:
        return None
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError):  # e.g. a root certificate that ends in the year 12000
        return "9999-12-31T23:59:59.999Z"
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The newest certificate issued to, or shown by, a device. Times are epoch seconds."""

    serial: str
    not_after: float | None
    issuer: str | None = None
    issued_at: float | None = None
    by: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as last seen; `how` is `Read` or `Written`."""

    value: object
    at: float
    how: str


@dataclass(slots=True)
class Record:
    """Facts of one device. Times are epoch seconds; strings that repeat over the fleet are interned."""

    uid: str
    state: str = NEVER_SEEN
    family: str | None = None
    model: str | None = None
    firmware: str | None = None
    hardware: str | None = None
    address: str | None = None
    first_seen: float | None = None
    last_seen: float | None = None
    since: float | None = None
    connected_at: float | None = None
    battery: Battery | None = None
    certificate: Certificate | None = None
    pinned_root: str | None = None
    pinned_assumed: bool = False
    registered_at: float | None = None
    wakes: int = 0
    last_wake: float | None = None
    channels: list[dict[str, Any]] | None = None
    wired: bool | None = None
    key_index: str | None = None
    settings: dict[str, Setting] = field(default_factory=dict)

    def take_support(self, support: Support) -> bool:
        """What the channels can do; True when that is news."""
        before, self.channels = self.channels, [_channel(each) for each in support.channels[:MAX_CHANNELS]]
        return before != self.channels

    def take_link(self, link: DeviceLink, at: float) -> None:
        """Copy the facts of a handshake. What a handshake lacks stays known."""
        self.connected_at = at
        for name in _TEXTS:
            value = getattr(link, name)
            if value is not None:
                setattr(self, name, intern(value[:MAX_TEXT]))
        if link.battery is not None:
            self.battery = link.battery
        if link.key_index is not None:
            self.key_index = intern(link.key_index)
        self._take_certificate(link)

    def _take_certificate(self, link: DeviceLink) -> None:
        serial, ends = link.certificate_serial, link.certificate_not_after
        known = self.certificate
        if serial is None or (known is not None and known.serial == serial):
            return
        if known is None or (ends is not None and (known.not_after is None or ends > known.not_after)):
            self.certificate = Certificate(serial, ends)

    def take_battery(self, battery: Battery) -> bool:
        """A battery report; True when percentage or charge state changed."""
        known, self.battery = self.battery, battery
        return known is None or (known.percent, known.charge) != (battery.percent, battery.charge)

    def document(self, *, denied_at: float | None, claimed: bool) -> dict[str, Any]:
        """The Device document of `/manage/v1/devices`."""
        battery, certificate = self.battery, self.certificate
        return {
            "uid": self.uid,
            "state": self.state,
            "family": self.family,
            "model": self.model,
            "firmware": self.firmware,
            "hardware": self.hardware,
            "address": self.address,
            "firstSeen": rfc3339(self.first_seen),
            "lastSeen": rfc3339(self.last_seen),
            "since": rfc3339(self.since),
            "connectedAt": rfc3339(self.connected_at),
            "battery": None
            if battery is None
            else {"percent": battery.percent, "charge": battery.charge, "at": rfc3339(battery.at)},
            "certificate": None if certificate is None else _certificate_document(certificate),
            "pinnedRoot": None
            if self.pinned_root is None
            else {"sha256": self.pinned_root, "assumed": self.pinned_assumed},
            "wired": self.wired,
            "capability": None if self.channels is None else {"channels": self.channels},
            "registeredAt": rfc3339(self.registered_at),
            "access": "Allowed" if denied_at is None else "Denied",
            "deniedAt": rfc3339(denied_at),
            "claimed": claimed,
            "wakes": self.wakes,
            "lastWake": rfc3339(self.last_wake),
            "settings": {
                name: {"value": known.value, "at": rfc3339(known.at), "how": known.how}
                for name, known in self.settings.items()
            },
        }


def _channel(channel: Channel) -> dict[str, Any]:
    return {
        "channel": channel.number,
        "streams": list(channel.stream_types),
        "rotates": channel.rotates,
        "diagonals": channel.rotates and channel.diagonals,
        "zooms": channel.zooms,
        "focuses": channel.focuses,
        "wifi": channel.wifi_mode != 0,
    }


def _certificate_document(certificate: Certificate) -> dict[str, Any]:
    return {
        "serial": certificate.serial,
        "notAfter": rfc3339(certificate.not_after),
        "issuer": certificate.issuer,
        "issuedAt": rfc3339(certificate.issued_at),
        "by": certificate.by,
        "address": certificate.address,
    }


def to_text(record: Record) -> str:
    """The record as stored in `device.facts`. The link state is not stored: it dies with the process."""
    battery, certificate = record.battery, record.certificate
    kept: dict[str, Any] = {name: value for name in _STORED if (value := getattr(record, name)) is not None}
    kept["wakes"] = record.wakes
    kept["pinned_assumed"] = record.pinned_assumed
    if battery is not None:
        kept["battery"] = [battery.percent, battery.charge, battery.at]
    if certificate is not None:
        kept["certificate"] = [getattr(certificate, name) for name in Certificate.__slots__]
    kept["settings"] = {name: [known.value, known.at, known.how] for name, known in record.settings.items()}
    return json.dumps(kept, separators=(",", ":"))


def from_text(uid: str, text: str) -> Record:
    """The inverse of `to_text`; the device counts as offline since it was last seen."""
    kept = json.loads(text)
    battery, certificate, settings = (kept.pop(name, None) for name in ("battery", "certificate", "settings"))
    record = Record(uid, **kept)
    for name in _TEXTS:
        value = getattr(record, name)
        if value is not None:
            setattr(record, name, intern(value))
    if battery is not None:
        record.battery = Battery(*battery)
    if certificate is not None:
        record.certificate = Certificate(*certificate)
    record.settings = {name: Setting(*known) for name, known in (settings or {}).items()}
    if record.first_seen is not None:
        record.state, record.since = OFFLINE, record.last_seen
    return record
