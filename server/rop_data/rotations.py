"""rotation.json: where each rotation is, with the keys that come or went. Written whole, mode 0600.

A file of ours: the vendor's configuration has room for one signKey, and shows no rotation. Its absence means that
nothing was ever rotated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rop_data import atomic
from rop_data.config import ConfigError, parse

FORMAT_VERSION = 1
IDLE = "Idle"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one item is. `generation` is in use, `target` (None: no rotation runs) comes; `since` is epoch seconds
    of the newest step. `data` is the item's own and holds secrets.
    """

    generation: int = 1
    target: int | None = None
    phase: str = IDLE
    since: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)


class RotationFile:
    """The file of one site, in memory and on disk. Raises ConfigError when it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._items = _load(path)

    def get(self, item: str) -> Progress:
        """Where this item is."""
        return self._items.get(item) or Progress()

    def put(self, item: str, progress: Progress) -> None:
        """Durable when this returns; when it raises, the file is as before."""
        items = {**self._items, item: progress}
        atomic.write(self._path, encode(items))
        self._items = items


def encode(items: Mapping[str, Progress]) -> bytes:
    """The file's bytes."""
    told = {
        name: {
            "generation": each.generation,
            "target": each.target,
            "phase": each.phase,
            "since": each.since,
            "data": dict(each.data),
        }
        for name, each in items.items()
    }
    return (json.dumps({"formatVersion": FORMAT_VERSION, "items": told}, indent=2) + "\n").encode()


def decode(data: bytes) -> dict[str, Progress]:
    """The inverse of `encode`. Raises ConfigError, also for a file of a newer program."""
    raw = parse(data, "rotation.json")
    if raw.get("formatVersion") != FORMAT_VERSION:
        raise ConfigError("rotation.formatVersion", f"{FORMAT_VERSION}; use the program that wrote it")
    try:
        return {name: Progress(**told) for name, told in raw["items"].items()}
    except (KeyError, TypeError, AttributeError):
        raise ConfigError("rotation.json", "as this program writes it; restore it from a backup") from None


def _load(path: Path) -> dict[str, Progress]:
    try:
        return decode(path.read_bytes())
    except FileNotFoundError:
        return {}


def old_sign_keys(file: RotationFile, current: str) -> tuple[str, ...]:
    """Keys of long-term codes that cameras may still hold, beside the one of config.json. None when somebody wrote
    another key there by hand: that key alone counts then.
    """
    keys = [epoch["key"] for epoch in file.get("SignKey").data.get("epochs", ())]
    return tuple(key for key in keys if key != current) if keys and keys[-1] == current else ()


def retired_sign_keys(file: RotationFile) -> tuple[str, ...]:
    """Keys of codes that are accepted no more, but for a device whose renewal was approved."""
    return tuple(file.get("SignKey").data.get("retired", ()))


def retired_device_keys(file: RotationFile) -> dict[str, str]:
    """Device keys out of use. A device that shows one proves itself by it and is told to register again."""
    return dict(file.get("DeviceKey").data.get("retired", {}))
