"""Recovery drills as processes of this machine. They outlive the agent, which knows one by the lock it holds."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rop_operator.adapters.process_table import ProcessId, terminate
from rop_operator.adapters.server_folder import folder_of, last_line, passed_on, private
from rop_operator.api.facts import DrillCamera, DrillReport, DrillRun, Ref
from rop_operator.domain.plan import StartDrill
from rop_operator.ports import PortError

CAMERA = "camera.json"
STEP = "step: "
RUNS_KEPT = 20
REPORTS_KEPT = 50
STOP_GRACE = 20.0
ENROL_TIMEOUT, VERIFY_TIMEOUT = 60.0, 60.0
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class ProcessDrills:
    """`Drills` below `root`, NAMESPACE/NAME for a server: `camera` of its drills, `reports`, and each of `runs`.

    `data_of` is the data directory of a server; `loopback` allows S3 services on this machine.
    """

    def __init__(
        self,
        root: Path,
        command: Sequence[str],
        server_command: Sequence[str],
        data_of: Callable[[Ref], Path],
        loopback: bool,
    ) -> None:
        self._root, self._data_of, self._loopback = root, data_of, loopback
        self._command, self._server_command = tuple(command), tuple(server_command)
        self._children: list[subprocess.Popen[bytes]] = []

    async def camera(self, server: Ref) -> DrillCamera | None:
        """The drill camera of this server."""
        folder = folder_of(self._root, server)
        try:
            told = json.loads((folder / "enrolled.json").read_text("utf-8"))
            at = datetime.fromisoformat(told["at"])
        except (OSError, ValueError, KeyError):
            return None
        used = bool(told.get("used"))
        return DrillCamera(at, str(told["keys"]), used) if (folder / "camera" / CAMERA).is_file() else None

    async def enrol(self, server: Ref, keys: str) -> None:
        """Enrol it, or enrol it again."""
        folder, now = folder_of(self._root, server), datetime.now(UTC)
        (folder / "camera").mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "enrolled.json").unlink(missing_ok=True)
        where = ("--data", str(self._data_of(server)), "--to", str(folder / "camera"), "--replace")
        status, said = await _output((*self._server_command, "drill-camera", "enrol", *where), ENROL_TIMEOUT)
        if status != 0:
            raise PortError("DrillNotPossible", f"the drill camera cannot be enrolled: {last_line(said)}")
        _write(folder / "enrolled.json", {"at": now.isoformat(), "keys": keys})

    async def run(self, server: Ref, id_: str) -> DrillRun | None:
        """A drill that was begun."""
        folder = self._run_folder(server, id_)
        self._children = [child for child in self._children if child.poll() is None]
        if not (folder / "begun").is_file():
            return None
        with _locked(folder / "lock") as free:
            if free is None:
                return DrillRun("Running", _step(folder / "steps.log"))
        try:
            signed = json.loads((folder / "out.json").read_bytes())
            document = signed["report"]
            archive = (document.get("archive") or {}).get("name")
            report = DrillReport.model_validate({**document, "archive": archive})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError):
            return DrillRun("Ended", message=_last_words(folder / "steps.log"))
        if not await self._verified(server, folder / "out.json"):
            return DrillRun("Ended", message="the signature of its report does not hold")
        name = f"drill-*-{str(document['id'])[:8]}.json"
        kept = sorted((folder_of(self._root, server) / "reports").glob(name))
        return DrillRun("Ended", report=report, file=str(kept[0]) if kept else None)

    async def start(self, server: Ref, order: StartDrill, place: Mapping[str, Any], identity: bytes) -> None:
        """Begin a drill; the same id begins once. `place`: the target as the policy has it, with credentials."""
        home, folder = folder_of(self._root, server), self._run_folder(server, order.id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._forget_old(home)
        with _locked(folder / "lock") as held:
            if held is None or (folder / "begun").exists():
                return
            _write(folder / "begun", {"at": datetime.now(UTC).isoformat()})
            self._spawn(home, folder, order, place, (held, _memory(identity)))
        with contextlib.suppress(OSError, ValueError):
            _write(
                home / "enrolled.json", {**json.loads((home / "enrolled.json").read_text("utf-8")), "used": True}
            )

    def _spawn(
        self, home: Path, folder: Path, order: StartDrill, place: Mapping[str, Any], held: tuple[int, int]
    ) -> None:
        """A session of its own; it holds the lock until it ends. Secrets travel in memory files."""
        lock, identity = held
        passed = [lock, identity]
        words = ["--identity", f"/dev/fd/{identity}", "--camera", str(home / "camera")]
        words += ["--report", str(home / "reports"), "--keep", str(REPORTS_KEPT), "-o", "json"]
        words += ["--timeout", f"{order.timeout:.0f}s"]
        words += ["--max-age", f"{order.max_age:.0f}s"] if order.max_age is not None else []
        words += ["--allow-loopback"] if self._loopback else []
        if "directory" in place:
            words += ["--from", str(place["directory"]["path"])]
        else:
            passed.append(_memory(json.dumps(place["s3"]).encode()))
            words += ["--s3", f"/dev/fd/{passed[-1]}"]
        try:
            with _new(folder / "out.json") as out, _new(folder / "steps.log") as steps:
                child = subprocess.Popen(  # noqa: S603  (the command is the program's own option)
                    [*self._command, "run", *words],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=steps,
                    start_new_session=True,
                    pass_fds=passed,
                    env=passed_on(),
                    cwd="/",
                )
        except OSError as error:
            raise PortError("DrillNotPossible", f"{self._command[0]}: {error.strerror}") from None
        finally:
            for descriptor in passed[1:]:
                os.close(descriptor)
        self._children.append(child)
        process = ProcessId.of(child.pid)
        if process is not None:
            _write(folder / "process.json", asdict(process))

    async def stop(self, server: Ref, id_: str) -> None:
        """End it; it tells in its report that it was interrupted."""
        try:
            known = json.loads((self._run_folder(server, id_) / "process.json").read_text("utf-8"))
            process = ProcessId(int(known["pid"]), int(known["started"]), str(known["boot"]))
        except (OSError, ValueError, KeyError):
            return
        await terminate(process, STOP_GRACE)

    async def _verified(self, server: Ref, report: Path) -> bool:
        """Whether the site of the drill camera vouches for who signed it."""
        try:
            known = json.loads((folder_of(self._root, server) / "camera" / CAMERA).read_bytes())["siteSigner"]
        except (OSError, ValueError, KeyError):
            return False
        command = (*self._command, "verify", str(report), "--expect-signer", str(known))
        return (await _output(command, VERIFY_TIMEOUT))[0] == 0

    def _run_folder(self, server: Ref, id_: str) -> Path:
        if not _ID.fullmatch(id_):
            raise PortError("NotSupported", "the id of a drill is letters, digits and -")
        return folder_of(self._root, server) / "runs" / id_

    @staticmethod
    def _forget_old(home: Path) -> None:
        runs = sorted((home / "runs").iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
        for old in runs[RUNS_KEPT:]:
            with _locked(old / "lock") as free:
                if free is not None:
                    shutil.rmtree(old, ignore_errors=True)

    async def close(self) -> None:
        """Let go of the drills; they run on."""
        for child in self._children:
            if child.poll() is None:
                child.returncode = 0  # it runs on without us: no warning about a child left behind


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """The descriptor that holds the lock, None when a drill holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _new(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _memory(content: bytes) -> int:
    """A file that no disk has; closed by the caller."""
    descriptor = os.memfd_create("rop-drill", os.MFD_CLOEXEC)
    os.write(descriptor, content)
    return descriptor


def _write(path: Path, document: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    with open(temporary, "w", encoding="utf-8", opener=private) as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _step(path: Path) -> str | None:
    steps = [line.removeprefix(STEP) for line in _lines(path) if line.startswith(STEP)]
    return steps[-1] if steps else None


def _last_words(path: Path) -> str | None:
    """What it said when it ended without a report."""
    words = [line for line in _lines(path) if line.strip() and not line.startswith(STEP)]
    return words[-1].removeprefix("rop-drill: ")[:500] if words else None


async def _output(command: Sequence[str], seconds: float) -> tuple[int, bytes]:
    """Exit status and everything it said. PortError when it cannot be run."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=passed_on(),
        )
    except OSError as error:
        raise PortError("DrillNotPossible", f"{command[0]}: {error.strerror}") from None
    try:
        said, _ = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise PortError("DrillNotPossible", f"{command[0]} did not end in time") from None
    return process.returncode or 0, said
