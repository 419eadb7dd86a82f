"""JSON logs on standard output: one object per line, `action` names what happened, secrets are masked."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog
import structlog.contextvars

from rop_server.recent import RecentLines

LEVELS = frozenset({"debug", "info", "warning", "error"})
DEFAULT_LEVELS = frozenset({"info", "warning", "error"})
MASK = "***"
# A second line of defence: no caller should log these at all.
_SECRET = frozenset(
    {"code", "key", "psk", "token", "secret", "password", "url"}
    | {"signkey", "devicekey", "secretaccesskey", "authorization", "notificationurl"}
)
_ALIASES = {"warn": "warning", "critical": "error", "exception": "error", "fatal": "error"}


class _Output:
    """Where lines go and which levels pass; changes apply to loggers already made."""

    stream: TextIO = sys.stdout
    levels: frozenset[str] = DEFAULT_LEVELS
    recent: RecentLines = RecentLines()


def configure(stream: TextIO | None = None, levels: frozenset[str] = DEFAULT_LEVELS) -> None:
    """Set up structlog and take over the standard library's loggers (aiohttp, asyncio)."""
    _Output.stream = stream or sys.stdout
    _Output.levels = levels
    structlog.configure(
        processors=[_filter, structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info, _line],
        logger_factory=lambda *names: _Logger(names[0] if names else "rop"),
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    root.setLevel(logging.INFO)


def recent() -> RecentLines:
    """The last lines of this process."""
    return _Output.recent


def set_levels(levels: frozenset[str]) -> None:
    """Change which levels pass, live."""
    _Output.levels = levels


def levels_of(raw: Mapping[str, Any]) -> frozenset[str]:
    """The levels that `logs.subjects.default` of a configuration lets pass; ours when it has none."""
    subject: Any = raw
    for name in ("logs", "subjects", "default"):
        subject = subject.get(name) if isinstance(subject, Mapping) else None
    if not isinstance(subject, Mapping):
        return DEFAULT_LEVELS
    if subject.get("enabled") is False:
        return frozenset()
    levels = subject.get("levels")
    return DEFAULT_LEVELS if not isinstance(levels, list) else LEVELS & {str(level) for level in levels}


class _Logger:
    """The end of the chain: writes one line."""

    def __init__(self, name: str) -> None:
        self.name = name

    def msg(self, line: str) -> None:
        """Write a line."""
        _Output.recent.add(line)
        try:
            _Output.stream.write(line + "\n")
            _Output.stream.flush()
        except (OSError, ValueError):
            # Nobody reads our logs any more (closed pipe, full disk): serving goes on.
            return

    debug = info = warning = error = critical = exception = fatal = warn = msg


def _filter(_logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    level = _ALIASES.get(method, method)
    if level not in _Output.levels:
        raise structlog.DropEvent
    event["level"] = level
    if method == "exception":
        event.setdefault("exc_info", True)
    return event


def _line(logger: _Logger, _method: str, event: MutableMapping[str, Any]) -> str:
    out = {
        "date": int(time.time() * 1000),
        "level": event.pop("level"),
        "subject": logger.name,
        "action": event.pop("event", None),
    }
    out.update((name, MASK if name.lower() in _SECRET else value) for name, value in event.items())
    return json.dumps(out, separators=(",", ":"), default=str)


class _Bridge(logging.Handler):
    """Sends records of the standard library through structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record as action `library`."""
        level = _ALIASES.get(record.levelname.lower(), record.levelname.lower())
        logger = structlog.get_logger(record.name)
        details: dict[str, Any] = {"message": record.getMessage()}
        if record.exc_info:
            details["exc_info"] = record.exc_info
        getattr(logger, level if level in LEVELS else "info")("library", **details)
