"""Small files that survive kill -9."""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)


def write_json(path: Path, document: Any, mode: int = 0o644) -> None:
    """Replace a JSON file atomically."""
    write(path, (json.dumps(document, indent=2) + "\n").encode(), mode)


def read_json(path: Path) -> Any:
    """A JSON file, None when it is not there."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None


class DeviceLog:
    """What happened to a camera: one JSON object per line, whole lines even when the process is killed."""

    def __init__(self, path: Path | None) -> None:
        self._descriptor = -1
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def __call__(self, event: str, **facts: Any) -> None:
        """Append an event. No secret is ever a fact."""
        if self._descriptor >= 0:
            line = json.dumps({"t": round(time.time(), 3), "event": event, **facts})
            os.write(self._descriptor, line.encode() + b"\n")
