"""Logs: our own as JSON lines, and nginx's, which come as datagrams so that nginx never waits for us."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
import sys
import time
from collections import deque
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

KEPT = 20
# <190>Nov 25 12:00:00 nginx_access: {"peer": ...
_SYSLOG = re.compile(r"<[0-9]{1,3}>[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} (nginx_[a-z]+): (.*)", re.DOTALL)
# 2026/11/25 12:00:00 [error] 12#12: *3 connect() failed ..., client: ..., request: "GET /x?secret HTTP/1.1"
_ERROR = re.compile(r"[0-9/]{10} [0-9:]{8} \[([a-z]+)\] [0-9]+#[0-9]+: (.*)", re.DOTALL)
_REQUEST = re.compile(r', (?:request|referrer|upstream|subrequest): "[^"]*"')
_LEVELS = {"emerg": "error", "alert": "error", "crit": "error", "error": "error", "warn": "warning"}


def configure() -> None:
    """JSON lines on standard output, as rop-server writes them."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, _line],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stdout),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


def _line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    head = {"date": int(time.time() * 1000), "level": event.pop("level"), "subject": "rop.gateway"}
    return json.dumps(head | {"action": event.pop("event", None)} | dict(event), default=str)


class NginxLog(asyncio.DatagramProtocol):
    """Receives nginx's log. `errors`: its last complaints, without what clients sent."""

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=KEPT)
        self._log = structlog.get_logger("rop.gateway")
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self, path: Path) -> None:
        """Listen. Raises OSError."""
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=str(path), family=socket.AF_UNIX
        )
        path.chmod(0o600)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """One line."""
        found = _SYSLOG.fullmatch(data.decode("utf-8", "replace").rstrip("\n"))
        if found is None:
            return
        if found[1] == "nginx_error":
            self._error(found[2])
            return
        with contextlib.suppress(ValueError):
            self._log.info(found[1].removeprefix("nginx_"), **json.loads(found[2]))

    def _error(self, text: str) -> None:
        found = _ERROR.fullmatch(text)
        level, said = (found[1], found[2]) if found else ("error", text)
        said = _REQUEST.sub("", said)[:500]
        if _LEVELS.get(level) == "error":
            self.errors.append(said)
        getattr(self._log, _LEVELS.get(level, "info"))("nginx", message=said)

    def stop(self) -> None:
        """Close."""
        if self._transport is not None:
            self._transport.close()
