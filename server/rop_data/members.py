"""Every member of config.json that the server knows: one table. Source: wire specification, pki-and-config 6."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

UNSIGNED_MAX = 2**53 - 1
_MISSING = object()


class Apply(Enum):
    """When a changed member takes effect."""

    LIVE = "Live"
    RESTART = "Restart"


@dataclass(frozen=True, slots=True)
class Member:
    """One member. `generated`: written on first start; `builtin`: used when it is missing."""

    name: str
    kind: str  # uint, text, bool, word, map, any
    low: int = 0
    high: int = UNSIGNED_MAX
    words: tuple[str, ...] = ()
    generated: Any = None
    builtin: Any = None
    apply: Apply = Apply.RESTART
    secret: bool = False
    mandatory: bool = False

    @property
    def rule(self) -> str:
        """What the member must be, for people."""
        if self.kind == "uint":
            return f"a whole number from {self.low} to {self.high}"
        if self.kind == "text":
            return f"text of {self.low} to {self.high} bytes"
        if self.kind == "word":
            return "one of " + ", ".join(self.words)
        return {"bool": "true or false", "map": "an object of 16-character to 32-character texts"}.get(
            self.kind, "any value"
        )

    def accepts(self, value: Any) -> bool:
        """Whether a value follows the rule."""
        if self.kind == "uint":
            return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high
        if self.kind == "text":
            return isinstance(value, str) and self.low <= len(value.encode(errors="replace")) <= self.high
        if self.kind == "word":
            return isinstance(value, str) and value in self.words
        if self.kind == "bool":
            return isinstance(value, bool)
        if self.kind == "map":
            return isinstance(value, dict) and bool(value) and all(map(_device_key, value.items()))
        return True


def _device_key(pair: tuple[Any, Any]) -> bool:
    return all(isinstance(each, str) for each in pair) and len(pair[0]) == 16 and len(pair[1]) == 32


def _ports() -> list[Member]:
    numbers = {
        "getCAHttps": 61000,
        "getCertHttps": 61001,
        "registerHttps": 61002,
        "keepAliveTCP": 61003,
        "signalingTLS": 61005,
        "streamTLS": 61006,
        "streamTCP": 61007,
        "clientRtsp": 61008,
        "clientHttp": 61009,
    }
    return [
        Member(f"ports.{name}", "uint", 1, 65535, generated=number, mandatory=True)
        for name, number in numbers.items()
    ]


def _duration(name: str, builtin: int, generated: int | None = None, low: int = 1) -> Member:
    return Member(name, "uint", low, generated=generated, builtin=builtin, apply=Apply.LIVE)


MEMBERS: tuple[Member, ...] = (
    *_ports(),
    Member("serverHost", "text", 1, 255, mandatory=True),
    Member("cert.workDir", "text", 1, 1024, generated="/data/certs", builtin="/data/certs"),
    Member("cert.serverCertValidDays", "uint", 1, 36500, generated=90, builtin=90),
    Member("cert.serverCertValidDaysBefore", "uint", 0, 36500, generated=30, builtin=30),
    Member("cert.clientCertValidDays", "uint", 1, 36500, generated=180, builtin=180, apply=Apply.LIVE),
    Member(
        "deviceStream.encryptMode",
        "word",
        words=("TLS", "encryptTCP", "TCP"),
        generated="TLS",
        mandatory=True,
        apply=Apply.LIVE,
    ),
    Member("authCode.signKey", "text", 1, 1024, secret=True, mandatory=True),
    Member("authCode.expiredIn", "uint", 1, generated=60, builtin=60, apply=Apply.LIVE),
    Member("alarm.enabled", "bool", builtin=False, apply=Apply.LIVE),
    Member("alarm.notificationURL", "text", 0, 1024, builtin="", apply=Apply.LIVE, secret=True),
    Member("upgrade.filePath", "text", 1, 255, generated="/data/firmware", builtin="/data/firmware"),
    Member("upgrade.maxSession", "uint", 10, 10000, generated=100, builtin=100, apply=Apply.LIVE),
    _duration("upgrade.sessionTTL", 3_600_000, 3_600_000, 60_000),
    _duration("rtsp.playSessionTTL", 30_000, 30_000, 1000),
    Member("rtsp.playURLPrefix", "text", 1, 1024, mandatory=True, apply=Apply.LIVE),
    _duration("timeout.streamTimeout", 30_000, 30_000),
    _duration("timeout.signalingExec", 10_000, 10_000),
    _duration("timeout.signalingConnectionIdle", 30_000, 30_000),
    _duration("timeout.socket", 40_000),
    _duration("timeout.recvPacket", 200),
    _duration("timeout.wakeupDevice", 10_000),
    _duration("timeout.wakeupExec", 10_000),
    _duration("timeout.upgradeSignaling", 60_000),
    _duration("timeout.snap", 10_000),
    _duration("wifi.scanWifiTimeout", 30_000),
    _duration("wifi.testWifiTimeout", 30_000),
    _duration("wifiSessionTTL", 600),
    *(
        _duration(f"interval.{name}", 1000)
        for name in ("checkKeepAlive", "checkSignaling", "checkStreamPush", "checkLiveExpired", "checkSnap")
    ),
    _duration("interval.checkServerCert", 3_600_000),
    _duration("interval.clearWifiSession", 5000),
    Member("heartBeatInterval", "uint", 1, 65535, builtin=20, apply=Apply.LIVE),
    Member("deviceAuth.deviceKeys", "map", apply=Apply.LIVE, secret=True, mandatory=True),
    Member("deviceAuth.currentKeyIndex", "text", 16, 16, apply=Apply.LIVE, mandatory=True),
    Member("application.instanceId", "text", 0, 255, builtin=""),
    Member("logs.subjects", "any", builtin={}, apply=Apply.LIVE),
    Member("logs.drivers", "any", builtin={}, apply=Apply.RESTART),
)
BY_NAME: Mapping[str, Member] = {member.name: member for member in MEMBERS}
HOST_LIMIT = 62
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")


def get(raw: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """A dotted member of a raw configuration. Names of `deviceKeys` contain no dots, so splitting is safe."""
    node: Any = raw
    for part in name.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return default
        node = node[part]
    return node


def has(raw: Mapping[str, Any], name: str) -> bool:
    """Whether the member is there."""
    return get(raw, name, _MISSING) is not _MISSING


def mask(member: Member, value: Any) -> str:
    """A value for an error message: secrets are not shown, long ones are cut."""
    if member.secret:
        return "(hidden)"
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
