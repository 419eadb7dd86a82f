"""`make demo`: a core server, the reconciling agent and three virtual cameras on loopback, in a throw-away folder.

Environment: DEMO_ONCE=1 exits 0 as soon as every camera is Ready, 1 after 120 s with the reason; DEMO_JSON=FILE
writes the final table as JSON; DEMO_DIR=DIR keeps everything in DIR instead of a throw-away folder.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from rich.console import Console
from rich.live import Live
from rich.table import Table

from free_ports import free_ports

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
QUICKSTART = ROOT / "examples" / "quickstart"
DEADLINE = 120.0
STOP_GRACE = 15.0
LOOPBACK_BROADCAST = "127.255.255.255"
PORT_MEMBERS = (
    "getCAHttps",
    "getCertHttps",
    "registerHttps",
    "keepAliveTCP",
    "signalingTLS",
    "streamTLS",
    "streamTCP",
    "clientRtsp",
    "clientHttp",
)
# What each camera of the quickstart is made of; anything else is a plain wired one.
TRAITS: Mapping[str, tuple[str, ...]] = {
    "front-door": ("--model", "RLC-510A"),
    "yard": ("--model", "RLC-823A", "--ptz"),
    "gate": ("--model", "Argus 3", "--battery"),
}
COLUMNS = ("NAME", "UID", "ONLINE", "FIRMWARE", "READY", "REASON")


@dataclass
class Demo:
    """One running demo: its folder, its processes and the cameras it waits for."""

    folder: Path
    cameras: dict[str, str] = field(default_factory=dict)
    processes: list[tuple[str, asyncio.subprocess.Process]] = field(default_factory=list)

    @property
    def fleet(self) -> Path:
        """The YAML files that the agent watches."""
        return self.folder / "fleet"

    @property
    def state(self) -> Path:
        """The agent's state directory."""
        return self.folder / "state"

    async def start(self, name: str, *command: str) -> None:
        """Start a process whose output goes to NAME.log; its own session, so that Ctrl-C reaches only us."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.processes.append((name, process))

    async def stop(self) -> None:
        """Stop the agent (which stops its server), then the cameras; SIGKILL only what does not go."""
        for _, process in reversed(self.processes):
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), STOP_GRACE)
                except TimeoutError:
                    process.kill()
                    await process.wait()

    def dead(self) -> str | None:
        """The first process that ended by itself, with the end of its log."""
        for name, process in self.processes:
            if process.returncode is not None:
                tail = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-8:]
                return f"{name} ended with status {process.returncode}:\n  " + "\n  ".join(tail)
        return None


def write_fleet(demo: Demo) -> None:
    """Copy the quickstart, with free ports in place of the defaults."""
    demo.fleet.mkdir(parents=True)
    ports = dict(zip(PORT_MEMBERS, free_ports(len(PORT_MEMBERS)), strict=True))
    for source in sorted(QUICKSTART.glob("*.yaml")):
        documents = list(yaml.safe_load_all(source.read_text()))
        for document in documents:
            if document["kind"] == "RopServer":
                document["spec"]["ports"] = ports
                rtsp = document["spec"].get("rtsp")
                if rtsp and "playURLPrefix" in rtsp:
                    rtsp["playURLPrefix"] = f"rtsp://127.0.0.1:{ports['clientRtsp']}"
            elif document["kind"] == "Camera":
                demo.cameras[document["metadata"]["name"]] = document["spec"]["uid"]
        (demo.fleet / source.name).write_text(yaml.safe_dump_all(documents, sort_keys=False))


async def launch(demo: Demo) -> None:
    """Start the cameras and the agent; the agent starts the server."""
    (discovery,) = free_ports(1, socket.SOCK_DGRAM)
    for name, uid in demo.cameras.items():
        await demo.start(
            f"camera-{name}",
            f"{BIN}/ropsim",
            "camera",
            *("--state", str(demo.folder / "cameras" / name), "--uid", uid),
            *("--setup-address", "127.0.0.1", "--setup-port", "0"),
            *("--discovery-address", LOOPBACK_BROADCAST, "--discovery-port", str(discovery)),
            *TRAITS.get(name, ()),
        )
    await demo.start(
        "agent",
        f"{BIN}/rop-agent",
        *("--dir", str(demo.fleet), "--state", str(demo.state)),
        *("--lan-cidrs", "127.0.0.0/8", "--allow-loopback", "--stop-servers"),
        *("--discovery-address", LOOPBACK_BROADCAST, "--discovery-port", str(discovery)),
    )


async def read_cameras(session: aiohttp.ClientSession) -> list[dict[str, Any]]:
    """Every Camera as the agent has it; empty while the agent is starting."""
    try:
        async with session.get("http://agent/v1/objects", params={"kind": "Camera"}) as answer:
            items: list[dict[str, Any]] = (await answer.json()).get("items", [])
            return items
    except (aiohttp.ClientError, OSError):
        return []


def condition(camera: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A condition by type, empty when it is not there yet."""
    found = camera.get("status", {}).get("conditions", [])
    return next((c for c in found if c["type"] == name), {})


def row(camera: Mapping[str, Any]) -> dict[str, str]:
    """What the table shows of a camera."""
    ready, online = condition(camera, "Ready"), condition(camera, "Online")
    firmware = camera.get("status", {}).get("firmware") or ""
    return {
        "NAME": camera["metadata"]["name"],
        "UID": camera["spec"]["uid"],
        "ONLINE": str(online.get("status", "Unknown")) + (" (asleep)" if online.get("reason") == "Asleep" else ""),
        "FIRMWARE": str(firmware),
        "READY": str(ready.get("status", "Unknown")),
        "REASON": str(ready.get("reason", "")),
    }


def table(rows: list[dict[str, str]], elapsed: float) -> Table:
    """The live table."""
    result = Table(*COLUMNS, title=f"rop demo, {elapsed:.0f} s", title_justify="left", box=None)
    for each in rows:
        style = "green" if each["READY"] == "True" else "yellow"
        result.add_row(*(each[column] for column in COLUMNS), style=style)
    return result


def all_ready(demo: Demo, rows: list[dict[str, str]]) -> bool:
    """Every camera of the quickstart is Ready."""
    return {r["NAME"] for r in rows if r["READY"] == "True"} == set(demo.cameras)


def why_not(demo: Demo, cameras: list[dict[str, Any]]) -> str:
    """One line per camera that is not Ready, with the condition that says why."""
    lines = []
    seen = {c["metadata"]["name"]: c for c in cameras}
    for name in demo.cameras:
        ready = condition(seen.get(name, {}), "Ready")
        if ready.get("status") != "True":
            lines.append(f"{name}: {ready.get('reason', 'no status')}: {ready.get('message', '')}")
    return "\n".join(lines)


def next_steps(demo: Demo) -> str:
    """What to try while it runs."""
    return f"""
All cameras are Ready. Try next, in another terminal:

  {BIN}/ropctl --state {demo.state} get cameras
  $EDITOR {demo.fleet}/cameras.yaml        # change a displayName and watch the camera follow
  {BIN}/ropctl --state {demo.state} plan -f {demo.fleet}    # what would happen, before it does
  {BIN}/ropctl --state {demo.state} describe camera front-door
  {BIN}/ropsim ctl --state {demo.folder}/cameras/front-door set-name Mallory   # drift: repaired by the policy

Ctrl-C stops everything and leaves nothing behind.
"""


async def watch(demo: Demo, once: bool, stop: asyncio.Event) -> int:
    """Show the table until stopped; the exit code."""
    console = Console()
    started = time.monotonic()
    connector = aiohttp.UnixConnector(str(demo.state / "agent.sock"))
    announced = False
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    shown: list[dict[str, str]] = []
    async with aiohttp.ClientSession(connector=connector) as session:
        with live or contextlib.nullcontext():
            while not stop.is_set():
                cameras = await read_cameras(session)
                rows = sorted((row(c) for c in cameras), key=lambda r: r["NAME"])
                elapsed = time.monotonic() - started
                if live is not None:
                    live.update(table(rows, elapsed), refresh=True)
                elif rows != shown:
                    console.print(table(rows, elapsed), "")
                shown = rows
                write_json(rows)
                if all_ready(demo, rows) and not announced:
                    announced = True
                    if once:
                        return 0
                    console.print(next_steps(demo), markup=False, highlight=False, soft_wrap=True)
                reason = demo.dead()
                if reason is None and once and elapsed > DEADLINE:
                    reason = f"not Ready after {DEADLINE:.0f} s:\n{why_not(demo, cameras)}"
                if reason:
                    console.print(reason, style="red", markup=False)
                    return 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 0.5)
    return 0


def write_json(rows: list[dict[str, str]]) -> None:
    """Write the table to DEMO_JSON when it is set."""
    target = os.environ.get("DEMO_JSON")
    if target:
        Path(target).write_text(json.dumps(rows, indent=2) + "\n")


async def run() -> int:
    """Start, watch, stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    kept = os.environ.get("DEMO_DIR")
    demo = Demo(Path(kept) if kept else Path(tempfile.mkdtemp(prefix="rop-demo-")))
    try:
        write_fleet(demo)
        await launch(demo)
        return await watch(demo, os.environ.get("DEMO_ONCE") == "1", stop)
    finally:
        await demo.stop()
        if not kept:
            shutil.rmtree(demo.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
