"""config.json: read, check, generate, patch. Source: wire specification, pki-and-config 6 and 7."""

import copy
import json
import secrets
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rop_data import atomic
from rop_data.members import BY_NAME, HOST, HOST_LIMIT, MEMBERS, Member, get, has, mask

_ALPHABET = string.ascii_letters + string.digits
MAX_FILE = 4 * 1024 * 1024


class ConfigError(Exception):
    """A configuration cannot be used. Names the member, the rule and the value (secrets hidden)."""

    def __init__(self, member: str, rule: str, value: str | None = None) -> None:
        super().__init__(f"{member}: must be {rule}" + (f", not {value}" if value is not None else ""))
        self.member = member
        self.rule = rule


class Config:
    """A checked configuration. `raw` holds every member of the file, unknown ones included."""

    __slots__ = ("raw",)

    def __init__(self, raw: dict[str, Any]) -> None:
        check(raw)
        self.raw = raw

    def __repr__(self) -> str:
        return f"Config(serverHost={self.server_host!r})"

    def get(self, name: str) -> Any:
        """A known member by dotted name, its built-in default when it is missing."""
        member = BY_NAME[name]
        return get(self.raw, name, member.builtin)

    def seconds(self, name: str) -> float:
        """A member in milliseconds as seconds."""
        return float(self.get(name)) / 1000

    def port(self, name: str) -> int:
        """A port by its name, `signalingTLS` say."""
        number: int = self.get(f"ports.{name}")
        return number

    @property
    def server_host(self) -> str:
        """Host name or address the cameras are told."""
        host: str = self.get("serverHost")
        return host

    @property
    def sign_key(self) -> str:
        """Key of the long-term codes."""
        key: str = self.get("authCode.signKey")
        return key

    @property
    def device_keys(self) -> dict[str, str]:
        """Device keys by key index."""
        keys: dict[str, str] = self.get("deviceAuth.deviceKeys")
        return keys

    @property
    def current_key_index(self) -> str:
        """The key index that all devices should use."""
        index: str = self.get("deviceAuth.currentKeyIndex")
        return index

    @property
    def alarm_url(self) -> str | None:
        """The webhook, None when alarms are off."""
        return (self.get("alarm.notificationURL") or None) if self.get("alarm.enabled") else None

    def members(self) -> Iterator[tuple[Member, Any]]:
        """Every known member that the file has."""
        return ((member, get(self.raw, member.name)) for member in MEMBERS if has(self.raw, member.name))


def check(raw: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first member that is missing or breaks its rule."""
    for member in MEMBERS:
        if not has(raw, member.name):
            if member.mandatory:
                raise ConfigError(member.name, f"present: {member.rule}")
            continue
        value = get(raw, member.name)
        if not member.accepts(value):
            raise ConfigError(member.name, member.rule, mask(member, value))
    if get(raw, "deviceAuth.currentKeyIndex") not in get(raw, "deviceAuth.deviceKeys"):
        raise ConfigError("deviceAuth.currentKeyIndex", "one of the indexes in deviceAuth.deviceKeys")
    if "/" in get(raw, "serverHost") or not get(raw, "serverHost").isprintable():
        # It is part of file names in the certificate folder.
        raise ConfigError("serverHost", "a host name or address", repr(get(raw, "serverHost")[:80]))
    ports = [get(raw, member.name) for member in MEMBERS if member.name.startswith("ports.")]
    if len(set(ports)) != len(ports):
        raise ConfigError("ports", "all different")


class _NotStrict(Exception):
    """What Python's reader would let through."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _NotStrict(f"member {name} twice")
        found[name] = value
    return found


def _no_constant(name: str) -> Any:
    raise _NotStrict(f"{name} is no number")


def parse(data: bytes, source: str = "config.json") -> dict[str, Any]:
    """Strict JSON (no comments, no program text). Raises ConfigError."""
    if len(data) > MAX_FILE:
        raise ConfigError(source, f"at most {MAX_FILE} bytes", f"{len(data)} bytes")
    try:
        raw = json.loads(data.decode(), object_pairs_hook=_members, parse_constant=_no_constant)
    except json.JSONDecodeError as failure:
        place = f"line {failure.lineno}, column {failure.colno}"
        raise ConfigError(source, f"strict JSON ({failure.msg} at {place})") from None
    except _NotStrict as failure:
        raise ConfigError(source, f"strict JSON ({failure})") from None
    except (ValueError, RecursionError):  # not UTF-8, too deep, or a number of thousands of digits
        raise ConfigError(source, "UTF-8 JSON, neither deep nor with endless numbers") from None
    if not isinstance(raw, dict):
        raise ConfigError(source, "a JSON object")
    return raw


def load(path: Path) -> Config:
    """Read and check a file. Raises ConfigError, FileNotFoundError."""
    return Config(parse(path.read_bytes(), path.name))


def dump(raw: Mapping[str, Any]) -> bytes:
    """The file's bytes."""
    return (json.dumps(raw, indent=2, ensure_ascii=False) + "\n").encode()


def save(path: Path, config: Config) -> None:
    """Write the file atomically, mode 0600."""
    atomic.write(path, dump(config.raw))


def random_text(length: int) -> str:
    """Letters and digits from a secure generator."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def check_host(host: str, member: str = "serverHost") -> str:
    """A host as cameras accept it: at most 62 bytes (discrepancies A4)."""
    if len(host.encode()) > HOST_LIMIT or not HOST.fullmatch(host):
        raise ConfigError(member, f"a host name or address of at most {HOST_LIMIT} bytes", repr(host[:80]))
    return host


def generate(environment: Mapping[str, str]) -> dict[str, Any]:
    """A new configuration from ROP_HOSTNAME, RTSP_PLAY_URL_PREFIX and ROP_ALARM_WEBHOOK."""
    host = environment.get("ROP_HOSTNAME", "")
    if not host:
        raise ConfigError("ROP_HOSTNAME", "set on the first start: the host name or address cameras connect to")
    check_host(host, "ROP_HOSTNAME")
    raw: dict[str, Any] = {}
    for member in MEMBERS:
        if member.generated is not None:
            put(raw, member.name, member.generated)
    index = random_text(16)
    webhook = environment.get("ROP_ALARM_WEBHOOK", "")
    for name, value in {
        "serverHost": host,
        "authCode.signKey": random_text(32),
        "alarm.enabled": bool(webhook),
        "alarm.notificationURL": webhook,
        "rtsp.playURLPrefix": environment.get("RTSP_PLAY_URL_PREFIX") or f"rtsp://{host}:61008",
        "deviceAuth.deviceKeys": {index: random_text(32)},
        "deviceAuth.currentKeyIndex": index,
        "application.instanceId": random_text(16),
        "logs.drivers": {"console": {"type": "console"}},
        "logs.subjects": {
            "default": {
                "enabled": True,
                "levels": ["info", "error", "debug", "warning"],
                "driver": "console",
            }
        },
    }.items():
        put(raw, name, value)
    check(raw)
    return raw


def ignored_environment(config: Config, environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variables of the first start that say something else than the file now: variable and member.

    They made the first configuration and are not read again; whoever changes one should be told.
    """
    pairs = (
        ("ROP_HOSTNAME", "serverHost"),
        ("RTSP_PLAY_URL_PREFIX", "rtsp.playURLPrefix"),
        ("ROP_ALARM_WEBHOOK", "alarm.notificationURL"),
    )
    told = ((name, member) for name, member in pairs if environment.get(name))
    return [(name, member) for name, member in told if environment[name] != config.get(member)]


def put(raw: dict[str, Any], name: str, value: Any) -> None:
    """Set a dotted member in place."""
    *parents, last = name.split(".")
    node = raw
    for part in parents:
        below = node.get(part)
        if not isinstance(below, dict):
            below = node[part] = {}
        node = below
    node[last] = value


def patch(raw: Mapping[str, Any], members: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with dotted members set (None: removed). Order and unknown members stay. Raises ConfigError."""
    result: dict[str, Any] = copy.deepcopy(dict(raw))
    for name, value in members.items():
        member = BY_NAME.get(name)
        if member is None:
            raise ConfigError(name, "a member that the server knows")
        if value is None:
            _drop(result, name)
            continue
        if not member.accepts(value):
            raise ConfigError(name, member.rule, mask(member, value))
        if name == "serverHost":
            check_host(value)
        if name.startswith("cert.") and "cert" not in result:
            _fill_cert(result)
        put(result, name, value)
    check(result)
    return result


def _fill_cert(raw: dict[str, Any]) -> None:
    """The vendor takes `cert` whole: when it appears, all four members must be there."""
    for member in MEMBERS:
        if member.name.startswith("cert."):
            put(raw, member.name, member.builtin)


def _drop(raw: dict[str, Any], name: str) -> None:
    *parents, last = name.split(".")
    node: Any = get(raw, ".".join(parents)) if parents else raw
    if isinstance(node, dict):
        node.pop(last, None)
