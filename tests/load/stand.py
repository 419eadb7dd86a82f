"""A running rop-server to measure: its ports, its CPU seconds, its memory. Runs the code of this repository."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from free_ports import free_ports
from rop_data.layout import DataDir

ROOT = Path(__file__).parents[2]
CORES = sorted(os.sched_getaffinity(0))
TICKS = os.sysconf("SC_CLK_TCK")
PORTS = (
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


class Server:
    """A running rop-server and what it has used."""

    def __init__(self, folder: Path, members: dict[str, Any]) -> None:
        self.folder = folder
        self._members = members
        self.data = DataDir(folder / "data")
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self._environment = {
            **os.environ,
            "ROP_HOSTNAME": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join((str(ROOT / "server"), os.environ.get("PYTHONPATH", ""))),
        }

    def start(self) -> None:
        """Configure and start; returns when it is ready."""
        members = {f"ports.{name}": number for name, number in self.ports.items()} | self._members
        command = [sys.executable, "-m", "rop_server", "configure", "--data", str(self.data.root), "--patch", "-"]
        subprocess.run(
            command,
            input=json.dumps(members),
            env=self._environment,
            text=True,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        self.run()

    def run(self) -> None:
        """Start the process on a configured directory; returns when it is ready."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rop_server", "--data", str(self.data.root), "--bind", "127.0.0.1"],
            stdout=subprocess.PIPE,
            stderr=(self.folder / "stderr.log").open("ab"),
            env=self._environment,
            text=True,
        )
        pin(self.process.pid, last=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if '"ready"' in line:
                break
        self._drain = subprocess.Popen(["cat"], stdin=self.process.stdout, stdout=subprocess.DEVNULL)

    def stop(self) -> int:
        """Stop gracefully; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self._drain.wait(10)
        return status

    def restart(self) -> None:
        """A fresh process on the same directory."""
        self.stop()
        self.run()

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait(60)
        self._drain.wait(10)

    @property
    def url(self) -> str:
        """The client API."""
        return f"http://127.0.0.1:{self.ports['clientHttp']}"

    def cpu(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self) -> float:
        """KiB of memory in use."""
        return self._memory("VmRSS")

    def peak(self) -> float:
        """KiB of memory, the most that this process ever had in use."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return float(next(line.split()[1] for line in status.splitlines() if line.startswith(name)))

    async def metrics(self) -> dict[str, float]:
        """The metrics page: `name` or `name{label value}` to value."""
        connector = aiohttp.UnixConnector(str(self.data.manage_socket))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://server/manage/v1/metrics") as answer,
        ):
            page = await answer.text()
        found = {}
        for family in text_string_to_metric_families(page):
            for each in family.samples:
                labels = ",".join(each.labels.values())
                found[f"{each.name}{{{labels}}}" if labels else each.name] = each.value
        return found

    async def open_enrolment(self) -> None:
        """Let any UID enrol."""
        connector = aiohttp.UnixConnector(str(self.data.manage_socket))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.put(
                "http://server/manage/v1/manager", json={"id": "bench", "takeOver": True}
            ) as answer:
                fence = (await answer.json())["fence"]
            body = {"policy": "Open", "uids": []}
            address = f"http://server/manage/v1/claims?fence={fence}"
            async with session.put(address, json=body, headers={"Rop-Manager": "bench"}) as answer:
                answer.raise_for_status()


def pin(pid: int, last: bool) -> None:
    """Server on the last core, client on the others, so that neither takes the other's time."""
    if len(CORES) > 1:
        os.sched_setaffinity(pid, CORES[-1:] if last else CORES[:-1])


@contextlib.contextmanager
def running(**members: Any) -> Iterator[Server]:
    """A fresh server. `members`: of config.json, dots written as two underscores."""
    with tempfile.TemporaryDirectory(prefix="rop-bench-") as folder:
        server = Server(Path(folder), {name.replace("__", "."): value for name, value in members.items()})
        server.start()
        try:
            yield server
        finally:
            server.stop()
