"""Where alarms go beside the webhook of config.json: members of rop.json, with addresses and keys in own files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rop_data import atomic
from rop_data.config import ConfigError

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
RESERVED = "webhook"
MAX_SINKS = 32
MAX_AGE_S = 86_400
MAX_URL = 1024
_FILTERS = ("uids", "statuses", "types")
_MEMBERS = ("name", "enabled", "urlFile", "keyFile", "filter")


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """One receiver. The files hold its address and, if it has one of its own, its signing key."""

    name: str
    url_file: str
    key_file: str | None = None
    enabled: bool = True
    uids: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def encode(self) -> dict[str, Any]:
        """The member of rop.json."""
        wanted = {name: list(getattr(self, name)) for name in _FILTERS if getattr(self, name)}
        return {
            "name": self.name,
            "enabled": self.enabled,
            "urlFile": self.url_file,
            "keyFile": self.key_file,
            "filter": wanted,
        }


@dataclass(frozen=True, slots=True)
class AlarmSettings:
    """`max_age_s`: after so many seconds of failed attempts an alarm becomes a dead letter."""

    max_age_s: int = MAX_AGE_S
    sinks: tuple[SinkSettings, ...] = field(default=())

    def encode(self) -> dict[str, Any]:
        """The member `alarms` of rop.json."""
        return {"maxAgeSeconds": self.max_age_s, "sinks": [sink.encode() for sink in self.sinks]}


def decode(raw: Any) -> AlarmSettings:
    """The member `alarms` of rop.json; None: the defaults. Raises ConfigError."""
    if raw is None:
        return AlarmSettings()
    _known(raw, "rop.alarms", ("maxAgeSeconds", "sinks"))
    age, sinks = raw.get("maxAgeSeconds", MAX_AGE_S), raw.get("sinks", [])
    if isinstance(age, bool) or not isinstance(age, int) or not 60 <= age <= 30 * 86_400:
        raise ConfigError("rop.alarms.maxAgeSeconds", "a whole number from 60 to 2592000", repr(age))
    if not isinstance(sinks, list) or len(sinks) > MAX_SINKS:
        raise ConfigError("rop.alarms.sinks", f"a list of at most {MAX_SINKS}")
    found = tuple(_sink(sink, f"rop.alarms.sinks[{number}]") for number, sink in enumerate(sinks))
    if len({sink.name for sink in found}) != len(found):
        raise ConfigError("rop.alarms.sinks", "of different names")
    return AlarmSettings(age, found)


def _sink(raw: Any, where: str) -> SinkSettings:
    _known(raw, where, _MEMBERS)
    name, enabled = raw.get("name"), raw.get("enabled", True)
    if not isinstance(name, str) or not NAME.fullmatch(name) or name == RESERVED:
        raise ConfigError(f"{where}.name", "1 to 32 small letters, digits, hyphens, not webhook", repr(name))
    if not isinstance(enabled, bool):
        raise ConfigError(f"{where}.enabled", "true or false", repr(enabled))
    wanted = raw.get("filter") or {}
    _known(wanted, f"{where}.filter", _FILTERS)
    filters = {each: _texts(wanted.get(each, []), f"{where}.filter.{each}") for each in _FILTERS}
    key_file = raw.get("keyFile")
    return SinkSettings(
        name,
        _path(raw.get("urlFile"), f"{where}.urlFile"),
        None if key_file is None else _path(key_file, f"{where}.keyFile"),
        enabled,
        **filters,
    )


def _known(raw: Any, where: str, members: tuple[str, ...]) -> None:
    if not isinstance(raw, Mapping):
        raise ConfigError(where, "an object")
    for name in raw:
        if name not in members:
            raise ConfigError(f"{where}.{name}", f"one of {', '.join(members)}")


def _path(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigError(where, "the path of a file, relative ones lie below the data directory")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ConfigError(where, "a list of texts")
    return tuple(value)


def check_url(url: str, where: str) -> str:
    """An address of a sink. Raises ConfigError, which does not contain it."""
    if not url.startswith(("http://", "https://")) or not url.isprintable() or len(url.encode()) > MAX_URL:
        raise ConfigError(where, f"an http or https address of at most {MAX_URL} bytes", "(hidden)")
    return url


def read_secret(root: Path, name: str, where: str) -> str:
    """The text of a secret file. Raises ConfigError naming the file."""
    try:
        return (root / name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(where, f"a file that can be read ({type(error).__name__})", name) from None


def write_secret(root: Path, name: str, text: str) -> None:
    """Write a secret file, mode 0600."""
    path = root / name
    atomic.make_directory(path.parent)
    atomic.write(path, text.encode() + b"\n")
