"""Units of systemd through `systemctl`: names, state, start, stop. Rights come from polkit or from being root."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rop_operator.api.facts import Ref
from rop_operator.ports import PortError

PROPERTIES = (
    "ActiveState",
    "SubState",
    "MainPID",
    "ExecMainCode",
    "ExecMainStatus",
    "StatusText",
    "ActiveEnterTimestampMonotonic",
    "TriggeredBy",
)
# CLD_KILLED and CLD_DUMPED of <signal.h>.
_KILLED = ("2", "3")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")


def escape(path: str) -> str:
    """`systemd-escape --path`: a relative path as part of a unit's name."""
    made = "".join(
        "-" if c == "/" else c if c in _PLAIN else "".join(f"\\x{b:02x}" for b in c.encode()) for c in path
    )
    return f"\\x2e{made[1:]}" if made.startswith(".") else made


def server_unit(ref: Ref) -> str:
    """The service of a RopServer; its instance is NAMESPACE/NAME."""
    return f"rop-server@{escape(f'{ref.namespace}/{ref.name}')}.service"


@dataclass(frozen=True, slots=True)
class Unit:
    """What systemd knows of a service. `since` is when it became active, in seconds of the monotonic clock."""

    active: str
    sub: str
    pid: int
    killed: bool
    status: int
    text: str
    since: float
    triggered_by: tuple[str, ...]

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> "Unit":
        """From the lines of `systemctl show`, split at `=`."""
        return cls(
            active=properties.get("ActiveState", "inactive"),
            sub=properties.get("SubState", "dead"),
            pid=int(properties.get("MainPID") or 0),
            killed=properties.get("ExecMainCode") in _KILLED,
            status=int(properties.get("ExecMainStatus") or 0),
            text=properties.get("StatusText", ""),
            since=int(properties.get("ActiveEnterTimestampMonotonic") or 0) / 1e6,
            triggered_by=tuple(properties.get("TriggeredBy", "").split()),
        )

    @property
    def state(self) -> str:
        """A state of `RuntimeState`. One that systemd is about to start again has failed."""
        if self.active in ("active", "reloading"):
            return "Running"
        if self.active == "activating" and self.sub != "auto-restart":
            return "Starting"
        if self.active == "deactivating":
            return "Starting"
        return "Failed" if self.active in ("failed", "activating") else "Stopped"

    @property
    def last_words(self) -> str:
        """Why it ended, as far as it said so."""
        if self.killed:
            return f"the server was ended by signal {self.status}"
        how = f"the server ended with status {self.status}"
        return f"{how}: {self.text}" if self.text else how


class Systemctl:
    """The command `systemctl`, by default the one in PATH."""

    def __init__(self, program: str | Path = "systemctl") -> None:
        self._program = str(program)

    async def show(self, unit: str) -> Unit:
        """State of a unit; one that was never started is `Stopped`. PortError `RuntimeFailed`."""
        said = await self._run("show", "--property", ",".join(PROPERTIES), unit)
        return Unit.of(dict(line.split("=", 1) for line in said.splitlines() if "=" in line))

    async def start(self, unit: str) -> None:
        """Have it started; does not wait. PortError `RuntimeFailed`."""
        await self._run("start", "--no-block", unit)

    async def restart(self, unit: str) -> None:
        """Have it stopped gracefully and started; does not wait. PortError `RuntimeFailed`."""
        await self._run("restart", "--no-block", unit)

    async def stop(self, *units: str) -> None:
        """Stop and wait for the end. PortError `RuntimeFailed`."""
        await self._run("stop", *units)

    async def _run(self, verb: str, *arguments: str) -> str:
        command = (self._program, "--no-ask-password", "--no-pager", verb, *arguments)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise PortError("RuntimeFailed", f"{self._program}: {error.strerror}") from error
        said, complaint = await process.communicate()
        if process.returncode != 0:
            reason = complaint.decode("utf-8", errors="replace").strip().replace("\n", "; ")
            raise PortError("RuntimeFailed", f"systemctl {verb} {' '.join(arguments)}: {reason[:500]}")
        return said.decode("utf-8", errors="replace")
