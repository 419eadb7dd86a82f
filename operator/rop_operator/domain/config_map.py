"""The written table: field of a RopServer -> member of config.json -> when a change takes effect.

Source: ROP v1.0 wire specification, pki-and-config 6. Members whose field is left out stay as the server has them.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rop_operator.api.durations import parse_duration
from rop_operator.api.server import PORT_MEMBERS, RopServerSpec
from rop_operator.domain.snapshot import SecretProblem

Apply = Literal["Live", "Restart"]
DEFAULT_RTSP_PORT = 61008
MASK = "(secret)"


@dataclass(frozen=True, slots=True)
class Member:
    """A row. `convert` turns the spec's value into the member's; `edge`: a change needs this acknowledgement."""

    field: str
    member: str
    convert: Callable[[Any], Any]
    unit: str
    apply: Apply = "Live"
    edge: str | None = None
    secret: bool = False


def _same(value: Any) -> Any:
    return value


def _milliseconds(value: str) -> int:
    return round(parse_duration(value) * 1000)


def _seconds(value: str) -> int:
    return max(1, round(parse_duration(value)))


def _stream_mode(value: str) -> str:
    return "encryptTCP" if value == "EncryptTCP" else value


def _subjects(value: list[str]) -> dict[str, Any]:
    levels = [level.lower() for level in value]
    return {"default": {"enabled": True, "levels": levels, "driver": "console"}}


def _gateway(value: Mapping[str, Any]) -> dict[str, Any]:
    """Whose certificates may be signed. A gateway on this machine comes by sockets, so no network is trusted."""
    host = str(value["host"])
    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:
        host = host.lower()
    return {"hosts": [host], "proxies": []}


TABLE: tuple[Member, ...] = (
    Member("host", "serverHost", _same, "text", "Restart", "HostChange"),
    *(Member(f"ports.{name}", f"ports.{name}", _same, "port", "Restart", "PortChange") for name in PORT_MEMBERS),
    Member("deviceStream.encryption", "deviceStream.encryptMode", _stream_mode, "TLS, encryptTCP, TCP"),
    Member("enrolment.codeExpiry", "authCode.expiredIn", _seconds, "seconds"),
    Member("alarms.sinks", "alarm.enabled", bool, "true when there is a sink"),
    Member("alarms.sinks[0].urlRef", "alarm.notificationURL", _same, "URL", secret=True),
    Member("authority.serverCertificate.validityDays", "cert.serverCertValidDays", _same, "days", "Restart"),
    Member(
        "authority.serverCertificate.renewBeforeDays", "cert.serverCertValidDaysBefore", _same, "days", "Restart"
    ),
    Member("authority.deviceCertificate.validityDays", "cert.clientCertValidDays", _same, "days"),
    Member("gateway", "rop.gateway", _gateway, "object: hosts, the names of gateways"),
    Member("rtsp.playURLPrefix", "rtsp.playURLPrefix", _same, "text"),
    Member("rtsp.playURLExpiry", "rtsp.playSessionTTL", _milliseconds, "milliseconds"),
    Member("upgrades.maxSessions", "upgrade.maxSession", _same, "number"),
    Member("upgrades.sessionTTL", "upgrade.sessionTTL", _milliseconds, "milliseconds"),
    Member("timeouts.socket", "timeout.socket", _milliseconds, "milliseconds"),
    Member("timeouts.stream", "timeout.streamTimeout", _milliseconds, "milliseconds"),
    Member("timeouts.signalingExec", "timeout.signalingExec", _milliseconds, "milliseconds"),
    Member("timeouts.signalingConnectionIdle", "timeout.signalingConnectionIdle", _milliseconds, "milliseconds"),
    Member("timeouts.wakeupDevice", "timeout.wakeupDevice", _milliseconds, "milliseconds"),
    Member("timeouts.wakeupExec", "timeout.wakeupExec", _milliseconds, "milliseconds"),
    Member("timeouts.upgradeSignaling", "timeout.upgradeSignaling", _milliseconds, "milliseconds"),
    Member("timeouts.snap", "timeout.snap", _milliseconds, "milliseconds"),
    Member("heartBeatInterval", "heartBeatInterval", _seconds, "seconds"),
    Member("logs.levels", "logs.subjects", _subjects, "object: subject default with these levels, lower-case"),
)
BY_MEMBER: Mapping[str, Member] = {row.member: row for row in TABLE}


def _value(tree: Mapping[str, Any], path: str) -> Any:
    current: Any = tree
    for part in path.split("."):
        if not isinstance(current, Mapping) or part not in current:
            return None
        current = current[part]
    return current


def desired_members(spec: RopServerSpec, secrets: Mapping[str, str | SecretProblem]) -> dict[str, Any]:
    """Dotted config members this spec asks for. Without a secret's value the server keeps what it has."""
    tree = spec.model_dump(by_alias=True, exclude_none=True)
    wanted: dict[str, Any] = {}
    for row in TABLE:
        value = secrets.get(f"spec.{row.field}") if row.secret else _value(tree, row.field)
        if value is not None and not isinstance(value, SecretProblem):
            wanted[row.member] = row.convert(value)
    if spec.gateway is not None:
        wanted.setdefault("rtsp.playURLPrefix", spec.gateway.play_url_prefix)
    if spec.alarms is not None and not spec.alarms.sinks:
        wanted["alarm.notificationURL"] = ""
    elif "alarm.notificationURL" not in wanted:
        wanted.pop("alarm.enabled", None)
    return wanted


def shown(members: Mapping[str, Any]) -> dict[str, str]:
    """The members for people, secrets masked."""
    return {
        name: MASK if (row := BY_MEMBER.get(name)) and row.secret and value else _text(value)
        for name, value in members.items()
    }


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def public_members(config: Mapping[str, Any]) -> dict[str, Any]:
    """The members of the table that may be shown, of a server's configuration."""
    return {name: config[name] for name, row in BY_MEMBER.items() if name in config and not row.secret}


def acknowledgement(member: str, value: Any) -> tuple[str, str] | None:
    """Edge and value a change of this member needs, None when it needs none."""
    row = BY_MEMBER.get(member)
    if row is None or row.edge is None:
        return None
    return row.edge, str(value) if row.edge == "HostChange" else f"{member.removeprefix('ports.')}:{value}"


def first_start(spec: RopServerSpec) -> dict[str, str]:
    """Environment with which a server's data is created. Source: pki-and-config 7."""
    prefix = spec.rtsp.play_url_prefix if spec.rtsp else None
    if prefix is None and spec.gateway is not None:
        prefix = spec.gateway.play_url_prefix
    if prefix is None:
        port = (spec.ports.client_rtsp if spec.ports else None) or DEFAULT_RTSP_PORT
        host = f"[{spec.host}]" if ":" in spec.host else spec.host
        prefix = f"rtsp://{host}:{port}"
    return {"ROP_HOSTNAME": spec.host, "RTSP_PLAY_URL_PREFIX": prefix}
