"""The running gateway: look at document, passwords, pair and nginx; bring nginx to what they say; report."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from rop_gateway.authenticator import Authenticator
from rop_gateway.certificates import Certificates
from rop_gateway.config import ConfigError, Gateway, load
from rop_gateway.folder import Folder
from rop_gateway.loglines import NginxLog
from rop_gateway.nginx import Nginx, NginxError, try_out
from rop_gateway.pair import Problem
from rop_gateway.passwords import Passwords, parse_htpasswd
from rop_gateway.probe import serves
from rop_gateway.render import render
from rop_gateway.server import RopServer, ServerError
from rop_gateway.supervisor import Supervisor
from rop_gateway.systemd import tell

log = structlog.get_logger("rop.gateway")

VERIFY_S = 15.0
STOP_GRACE_S = 10.0
REPORT_S = 10.0
MAX_HTPASSWD = 1024 * 1024


class Busy(Exception):
    """Another rop-gateway works on the directory."""


@contextlib.contextmanager
def locked(folder: Folder) -> Iterator[None]:
    """Be the only process on a directory. Raises Busy."""
    folder.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Busy(f"{folder.root} is in use by another rop-gateway; stop it first") from None
    finally:
        os.close(descriptor)


def read_passwords(document: Gateway) -> dict[str, bytes]:
    """The users of the document's file. Raises ConfigError."""
    path = document.htpasswd_file
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            return parse_htpasswd(file.read(MAX_HTPASSWD).decode("utf-8"))
    except OSError as error:
        raise ConfigError([("htpasswdFile", f"{path}: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([("htpasswdFile", f"{path} is not UTF-8")]) from None


@dataclass
class Applied:
    """What nginx was told last, and what it refused."""

    text: str = ""
    refused: str = ""
    reloads: int = 0


class Service:
    """One gateway. `problems`: what is wrong, by where it was found."""

    def __init__(self, path: Path, document: Gateway, nginx: Nginx) -> None:
        """`document` is what `path` holds now."""
        self._path = path
        self._document = document
        self._nginx = nginx
        self._folder = Folder(document.directory)
        self._server = RopServer(document.sockets)
        self._passwords = Passwords(time.monotonic)
        self._authenticator = Authenticator(document, self._passwords, self._server)
        self._certificates = Certificates(self._folder, self._server)
        self._supervisor = Supervisor(self._folder, nginx)
        self._log = NginxLog()
        self._applied = Applied()
        self._read: dict[str, Any] = {}
        self._reported_at = float("-inf")
        self._told: dict[str, Any] = {}
        self.problems: dict[str, Problem] = {}

    async def run(self, stop: asyncio.Event, look_now: asyncio.Event) -> None:
        """Serve until `stop`. Raises OSError when a socket cannot be made, ConfigError for the password file."""
        self._passwords.take(read_passwords(self._document))
        self._folder.make()
        await self._log.start(self._folder.log)
        await self._authenticator.start(self._folder.authenticator)
        adopted = self._supervisor.adopt()
        try:
            while not stop.is_set():
                try:
                    await self.look(reload=adopted)
                    adopted = False
                except OSError as error:  # a full disk, say: what serves goes on
                    self._problem("files", Problem("FilesUnusable", str(error)))
                await self._report()
                tell("READY=1")  # it looked once; what is missing yet is in its status
                await _first(stop, look_now, timeout=self._document.limits.check_interval)
                look_now.clear()
        finally:
            tell("STOPPING=1")
            await self._supervisor.stop(STOP_GRACE_S)
            await self._authenticator.stop()
            await self._server.close()
            self._log.stop()

    async def look(self, *, reload: bool = False) -> None:
        """One round. `reload`: nginx has to be told in any case."""
        self.problems.pop("files", None)
        self._look_at_document()
        self._look_at_passwords()
        await self._certificates.look(self._document, datetime.now(UTC))
        self._problem("certificate", self._certificates.problem)
        place = self._certificates.place
        if place is None and not self._document.external:
            if self._certificates.problem is None:
                self._problem("certificate", Problem("CertificateMissing", "there is no certificate yet"))
            return
        text = render(self._document, self._nginx, place)
        reload = self._prepare(text) or reload
        if not self._applied.text:
            return
        if not self._supervisor.running:
            self._supervisor.start(time.monotonic())
            reload = True
        elif reload:
            self._supervisor.reload()
            self._applied.reloads += 1
        if reload or "nginx" in self.problems:
            await self._verify(VERIFY_S if reload else 0.0)
        if place is not None and "nginx" not in self.problems:
            self._folder.forget_others(place)

    # -- what others write ------------------------------------------------------------------------

    def _look_at_document(self) -> None:
        try:
            document = load(self._path)
            if (document.directory, document.sockets) != (self._document.directory, self._document.sockets):
                raise ConfigError([("directory, sockets", "need a restart of rop-gateway")])
        except ConfigError as error:
            self._problem("document", Problem("ConfigInvalid", str(error)))
            return
        self._problem("document", None)
        if document != self._document:
            log.info("document", message="changed")
            self._document = self._authenticator.document = document

    def _look_at_passwords(self) -> None:
        try:
            self._passwords.take(read_passwords(self._document))
        except ConfigError as error:
            self._problem("passwords", Problem("PasswordsInvalid", str(error)))
        else:
            self._problem("passwords", None)

    def _problem(self, where: str, problem: Problem | None) -> None:
        if problem is None:
            self.problems.pop(where, None)
        elif self.problems.get(where) != problem:
            self.problems[where] = problem
            log.error(where, message="nok", reason=problem.reason, text=problem.message)

    # -- nginx ------------------------------------------------------------------------------------

    def _prepare(self, text: str) -> bool:
        """Let nginx test a new configuration; it replaces the one in use only when it passes. True when it did."""
        if text == self._applied.text:
            self._applied.refused = ""
            self._problem("configuration", None)
            return False
        if text == self._applied.refused and self._applied.text:
            return False
        self._folder.write(self._folder.candidate, text.encode())
        try:
            try_out(self._nginx, self._folder.candidate)
        except NginxError as error:
            self._applied.refused = text
            self._problem("configuration", Problem("ConfigRefused", str(error)))
            return False
        self._folder.candidate.replace(self._folder.configuration)
        self._applied.text, self._applied.refused = text, ""
        self._problem("configuration", None)
        return True

    async def _verify(self, patience: float) -> None:
        """See with our own eyes what is served."""
        pair = self._certificates.pair
        wrong = await serves(self._document, pair.serial if pair is not None else None, patience)
        if wrong is None:
            self._problem("nginx", None)
            return
        words = self._log.errors[-1] if self._log.errors else self._supervisor.last_words()
        self._problem("nginx", Problem("NginxFailed", f"{wrong}: {words}" if words else wrong))

    # -- the account we give ----------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """How we are. `reason` is `Ready` when nothing is wrong; `serving`: both ports answer."""
        pair = self._certificates.pair
        first = next(iter(self.problems.values()), None)
        serving = self._supervisor.running and "nginx" not in self.problems
        return {
            "reason": "Ready" if first is None else first.reason,
            "message": "" if first is None else first.message,
            "serving": serving,
            "problems": [{"reason": each.reason, "message": each.message} for each in self.problems.values()],
            "host": self._document.host,
            "httpsPort": self._document.https_port,
            "rtspsPort": self._document.rtsps_port,
            "playURLPrefix": self._document.prefix,
            "certificate": None
            if pair is None
            else {
                "source": self._document.certificate.source,
                "serial": pair.serial,
                "notAfter": pair.not_after.isoformat().replace("+00:00", "Z"),
                "names": pair.names,
            },
            "nginx": {"version": self._nginx.version_text, "pid": self._supervisor.pid},
            "reloads": self._applied.reloads,
        }

    async def _report(self) -> None:
        """To the file and to rop-server: at once when something changed, else now and then."""
        status = self.status()
        changed = status != self._told
        if changed:
            self._told = status
            self._folder.write(self._folder.status, (json.dumps(status, indent=2) + "\n").encode())
            log.info("status", reason=status["reason"], serving=status["serving"])
        if not changed and time.monotonic() - self._reported_at < REPORT_S:
            return
        try:
            await self._server.report(status)
            self._reported_at = time.monotonic()
        except ServerError as error:
            log.info("report", message="nok", reason=str(error))


async def _first(*events: asyncio.Event, timeout: float) -> None:
    """Until one of the events is set, or the time is over."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
