"""Who changed what through the management interface and the client API: one JSON object per line, oldest first.

The file is bounded: at `LIMIT` bytes it becomes its one predecessor, `audit.jsonl.1`. It holds no body, no query
and no header of a call, so no secret.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog

from rop_server.state.record import rfc3339

log = structlog.get_logger("rop.audit")

LIMIT = 8 * 1024 * 1024
READ = 4 * 1024 * 1024
"""Bytes at the end of a file that a page looks at."""


class Audit:
    """The file of one server. `wall` gives epoch seconds."""

    def __init__(self, path: Path, wall: Callable[[], float], limit: int = LIMIT) -> None:
        self._path = path
        self._wall = wall
        self._limit = limit
        self._file: int | None = None
        self._size = 0
        self._failed = False

    def note(self, interface: str, operation: str, caller: str, status: int, uid: str | None = None) -> None:
        """Add a line. A disk that takes none is told in the log, once; the call itself was carried out."""
        told = {
            "at": rfc3339(self._wall()),
            "interface": interface,
            "operation": operation,
            "caller": caller,
            "status": status,
            **({"uid": uid} if uid is not None else {}),
        }
        try:
            self._write(json.dumps(told, separators=(",", ":")).encode() + b"\n")
        except OSError as error:
            if not self._failed:
                log.error("audit", message="nok", reason=str(error))
            self._failed = True
        else:
            self._failed = False

    def _write(self, line: bytes) -> None:
        if self._file is None or self._size >= self._limit:
            self._open()
        assert self._file is not None
        written = os.write(self._file, line)
        self._size += written
        if written < len(line):  # a full disk took a part: the next line begins on its own
            raise OSError(f"{written} of {len(line)} bytes were written")

    def _open(self) -> None:
        self.close()
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_size >= self._limit:
                self._path.replace(self.older)
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(file).st_size
        if self._size and os.pread(file, 1, self._size - 1) != b"\n":  # killed within a line
            self._size += os.write(file, b"\n")
        self._file = file

    @property
    def older(self) -> Path:
        """What came before."""
        return self._path.with_name(self._path.name + ".1")

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def page(self, limit: int, uid: str | None = None) -> list[dict[str, Any]]:
        """The last lines, oldest first: of one device only, if it is named."""
        found: list[dict[str, Any]] = []
        for line in (*self._backwards(self._path), *self._backwards(self.older)):
            if len(found) == limit:
                break
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict) and uid in (None, told.get("uid")):
                    found.append(told)
        return found[::-1]

    @staticmethod
    def _backwards(path: Path) -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                begin = max(0, file.seek(0, os.SEEK_END) - READ)
                file.seek(begin)
                lines = file.read().splitlines()
        except FileNotFoundError:
            return
        yield from reversed(lines[1:] if begin else lines)
