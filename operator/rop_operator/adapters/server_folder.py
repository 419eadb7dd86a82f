"""What the host keeps of a managed server: its data directory and, beside it, a record of its first start."""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rop_operator.api.facts import Ref
from rop_operator.ports import Endpoint

CONFIGURE_TIMEOUT = 120.0
STEADY = 30.0
# Names of documents have no underscore, so this is never the data directory of another server.
RECORD = "_record.json"
_SAFE = re.compile(r"[-._a-z0-9]{1,253}")
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONUNBUFFERED")


def folder_of(root: Path, ref: Ref) -> Path:
    """Data directory of a server below `root`. ValueError for names that are no file names."""
    if not (_SAFE.fullmatch(ref.namespace) and _SAFE.fullmatch(ref.name)) or ref.name in (".", ".."):
        raise ValueError(f"{ref} cannot be a directory name")
    return root / ref.namespace / ref.name


def known_below(root: Path) -> list[Ref]:
    """Servers that have ever been started below `root`."""
    records = sorted(root.glob(f"*/*{RECORD}"))
    return [Ref("RopServer", path.parent.name, path.name.removesuffix(RECORD)) for path in records]


def passed_on() -> dict[str, str]:
    """The part of this program's environment that a server gets."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def last_line(said: bytes) -> str:
    """The last line of an output for people; of a JSON log line its message."""
    lines = [line for line in said.decode("utf-8", errors="replace").splitlines() if line.strip()]
    if not lines:
        return ""
    try:
        document = json.loads(lines[-1])
    except ValueError:
        return lines[-1][:500]
    if not isinstance(document, dict):
        return lines[-1][:500]
    said_by_it = [str(document[k]) for k in ("message", "error", "event", "action", "remedy") if document.get(k)]
    return "; ".join(said_by_it)[:500] or lines[-1][:500]


@dataclass
class ServerFolder:
    """The data directory of one server and the record beside it."""

    folder: Path
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def record_path(self) -> Path:
        """The record beside the server's data."""
        return self.folder.with_name(self.folder.name + RECORD)

    @property
    def endpoint(self) -> Endpoint:
        """Its management interface."""
        return Endpoint(f"unix://{self.folder / 'run' / 'manage.sock'}", "Management")

    def load(self) -> None:
        """Read the record, if there is one."""
        with contextlib.suppress(OSError, ValueError):
            self.record = json.loads(self.record_path.read_text("utf-8"))

    def save(self, **members: Any) -> None:
        """Change the record durably."""
        self.record |= members
        temporary = self.record_path.with_suffix(".tmp")
        with open(temporary, "w", encoding="utf-8", opener=private) as file:
            json.dump(self.record, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.record_path)

    def note_steady(self, seconds: float) -> None:
        """A server that once ran for a while is no longer configured from outside: cameras may know it."""
        if seconds > STEADY and not self.record.get("steady"):
            self.save(steady=True)

    async def prepare(
        self, command: Sequence[str], members: Mapping[str, Any], environment: Mapping[str, str]
    ) -> str | None:
        """Configure it before its first start; None on success, else the reason.

        A data directory that somebody put there before our first start is taken as it is.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        adopted = "phase" not in self.record and (self.folder / "config.json").exists()
        if self.record.get("steady") or adopted:
            return None
        self.save(phase="Configuring")
        failure = await self._configure(command, members, environment)
        if failure is None:
            self.save(phase="Configured")
        return failure

    async def _configure(
        self, command: Sequence[str], members: Mapping[str, Any], environment: Mapping[str, str]
    ) -> str | None:
        """Secrets travel on standard input."""
        try:
            process = await asyncio.create_subprocess_exec(
                *(*command, "configure", "--data", str(self.folder), "--patch", "-"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**passed_on(), **environment},
            )
        except OSError as error:
            return f"{command[0]}: {error.strerror}"
        try:
            said, _ = await asyncio.wait_for(
                process.communicate(json.dumps(dict(members)).encode()), CONFIGURE_TIMEOUT
            )
        except TimeoutError:
            process.kill()
            await process.wait()
            return "rop-server configure did not end in time"
        if process.returncode == 0:
            return None
        return f"rop-server configure ended with status {process.returncode}: {last_line(said)}"


def private(path: str, flags: int) -> int:
    """An opener for files that nobody else reads."""
    return os.open(path, flags, 0o600)
