"""rop.json: what our server keeps of a site beside the vendor's configuration."""

import json
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rop_data import atomic, gateway, sinks
from rop_data.archive import policy
from rop_data.archive.policy import BackupPolicy
from rop_data.config import ConfigError, parse
from rop_data.gateway import GatewaySettings
from rop_data.sinks import AlarmSettings

FORMAT_VERSION = 1
MAX_COMMANDS = 256
PATCHABLE = (
    "rop.management.listen",
    "rop.clientBind",
    "rop.integrity",
    "rop.signalCommands",
    "rop.alarms",
    "rop.backup",
    "rop.gateway",
)


@dataclass(frozen=True, slots=True)
class RopSettings:
    """Settings of ours.

    `client_bind`: address of the client ports. `integrity`: `Enforce` or `Report` (encrypted TCP).
    `management_listen`: `host:port` of the management interface over TLS, None: unix socket only.
    `signal_commands`: command numbers that clients may send raw; none: that call does not exist.
    `alarms`: further receivers of alarms. `backup`: archives that the server makes by itself, None: it makes none.
    `gateway`: what a gateway in front of this server may have.
    `root_sha256`: fingerprint of the root once it is known; the server never starts under another one.
    """

    instance_id: str
    client_bind: str
    integrity: str
    adopted: bool
    management_listen: str | None = None
    root_sha256: str | None = None
    signal_commands: tuple[int, ...] = ()
    alarms: AlarmSettings = field(default_factory=AlarmSettings)
    backup: BackupPolicy | None = None
    gateway: GatewaySettings = field(default_factory=GatewaySettings)

    @classmethod
    def new(cls, adopted: bool) -> "RopSettings":
        """For a new site, or one that the vendor's server made."""
        return cls(
            uuid.uuid4().hex,
            "0.0.0.0" if adopted else "127.0.0.1",  # noqa: S104 - an adopted site keeps its clients
            "Report" if adopted else "Enforce",
            adopted,
        )

    def encode(self) -> bytes:
        """The file's bytes."""
        document: dict[str, Any] = {
            "formatVersion": FORMAT_VERSION,
            "instanceID": self.instance_id,
            "clientBind": self.client_bind,
            "integrity": self.integrity,
            "management": {"listen": self.management_listen},
            "adopted": self.adopted,
            "rootSHA256": self.root_sha256,
            "signalCommands": list(self.signal_commands),
            "alarms": self.alarms.encode(),
            "backup": self.backup.encode() if self.backup else None,
            "gateway": self.gateway.encode(),
        }
        return (json.dumps(document, indent=2) + "\n").encode()


def load(path: Path) -> RopSettings | None:
    """Read rop.json, None when it is not there. Raises ConfigError, also for data of a newer program."""
    try:
        return decode(path.read_bytes(), path.name)
    except FileNotFoundError:
        return None


def decode(data: bytes, source: str = "rop.json") -> RopSettings:
    """The inverse of `RopSettings.encode`. Raises ConfigError."""
    raw = parse(data, source)
    version = raw.get("formatVersion")
    if version != FORMAT_VERSION:
        raise ConfigError("rop.formatVersion", f"{FORMAT_VERSION}; use the program that wrote it", repr(version))
    listen = (raw.get("management") or {}).get("listen")
    settings = RopSettings(
        _text(raw, "instanceID"),
        _text(raw, "clientBind"),
        _text(raw, "integrity"),
        bool(raw.get("adopted")),
        _listen(listen),
        raw.get("rootSHA256"),
        _commands(raw.get("signalCommands", [])),
        sinks.decode(raw.get("alarms")),
        policy.decode(raw.get("backup")),
        gateway.decode(raw.get("gateway")),
    )
    if settings.integrity not in ("Enforce", "Report"):
        raise ConfigError("rop.integrity", "Enforce or Report", repr(settings.integrity))
    return settings


def _text(raw: dict[str, Any], name: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"rop.{name}", "text", repr(value))
    return value


def _listen(value: Any) -> str | None:
    if value is None:
        return None
    host, _, port = str(value).rpartition(":")
    if not isinstance(value, str) or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError("rop.management.listen", "HOST:PORT", repr(value))
    return value


def _commands(value: Any) -> tuple[int, ...]:
    fitting = isinstance(value, list) and len(value) <= MAX_COMMANDS
    if not fitting or not all(type(each) is int and 0 <= each < 2**32 for each in value):
        raise ConfigError(
            "rop.signalCommands", f"a list of at most {MAX_COMMANDS} command numbers", repr(value)[:80]
        )
    return tuple(sorted(set(value)))


def patch(settings: RopSettings, members: dict[str, Any]) -> RopSettings:
    """With `rop.*` members set. Raises ConfigError."""
    for name, value in members.items():
        if name == "rop.management.listen":
            settings = replace(settings, management_listen=_listen(value))
        elif name == "rop.signalCommands":
            settings = replace(settings, signal_commands=_commands([] if value is None else value))
        elif name == "rop.alarms":
            settings = replace(settings, alarms=sinks.decode(value))
        elif name == "rop.gateway":
            settings = replace(settings, gateway=gateway.decode(value))
        elif name == "rop.backup":
            settings = replace(settings, backup=policy.decode(value))
        elif name == "rop.clientBind" and isinstance(value, str) and value:
            settings = replace(settings, client_bind=value)
        elif name == "rop.integrity" and value in ("Enforce", "Report"):
            settings = replace(settings, integrity=value)
        else:
            raise ConfigError(name, f"{', '.join(PATCHABLE)} with a fitting value")
    return settings


def save(path: Path, settings: RopSettings) -> None:
    """Write rop.json atomically."""
    atomic.write(path, settings.encode())
