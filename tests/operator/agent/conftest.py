"""A plain host in a folder: rop-agent, the rop-server it runs, and virtual cameras, as real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from free_ports import free_ports
from rop_operator.adapters.process_table import ProcessId

BIN = Path(sys.executable).parent
BROADCAST = "127.255.255.255"
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
PATIENCE = 90.0


class Host:
    """Files, processes and the socket of one host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet, self.state, self.secrets = folder / "fleet", folder / "state", folder / "secrets"
        self.fleet.mkdir()
        self.secrets.mkdir(mode=0o700)
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        (self.discovery,) = free_ports(1, socket.SOCK_DGRAM)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.agent: subprocess.Popen[bytes] | None = None

    # Documents

    def write(self, **cameras: dict[str, Any]) -> None:
        """The server and these cameras, one file."""
        server = self.server_document()
        found = [self.document("Camera", n, serverRef={"name": "home"}, **spec) for n, spec in cameras.items()]
        text = yaml.safe_dump_all([server, *found], sort_keys=False)
        temporary = self.fleet / ".all"
        temporary.write_text(text)
        temporary.replace(self.fleet / "all.yaml")

    def server_document(self, **spec: Any) -> dict[str, Any]:
        """The RopServer; nobody mourns its keys."""
        demo = [{"edge": "NoBackup", "value": "home"}]
        return self.document("RopServer", "home", host="127.0.0.1", ports=self.ports, acknowledge=demo, **spec)

    def document(self, kind: str, name: str, **spec: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": "video"}
        return {"apiVersion": "rop.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}

    # Processes

    def command(self, *more: str) -> list[str]:
        return [
            f"{BIN}/rop-agent",
            *("--dir", str(self.fleet), "--state", str(self.state), "--secrets", str(self.secrets)),
            *("--lan-cidrs", "127.0.0.0/8", "--allow-loopback"),
            *("--discovery-address", BROADCAST, "--discovery-port", str(self.discovery)),
            *more,
        ]

    def start(self, *more: str) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(self.command(*more), stdout=log, stderr=log)
        self.processes.append(self.agent)
        self.poll("the agent answers", lambda: self.get("/v1/health"))

    def stop(self) -> int:
        assert self.agent is not None
        self.agent.terminate()
        return self.agent.wait(40)

    def kill(self) -> None:
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()

    def camera(self, name: str, uid: str, *traits: str) -> subprocess.Popen[bytes]:
        command = [
            f"{BIN}/ropsim",
            "camera",
            *("--state", str(self.folder / name), "--uid", uid, "--setup-port", "0", "--reconnect-min", "0.2"),
            *("--discovery-address", BROADCAST, "--discovery-port", str(self.discovery), *traits),
        ]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self.processes.append(process)
        self.poll(f"{name} listens", (self.folder / name / "ready.json").exists)
        return process

    def ctl(self, name: str, *command: str) -> None:
        subprocess.run(
            [f"{BIN}/ropsim", "ctl", "--state", str(self.folder / name), *command], check=True, timeout=40
        )

    def device(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / name / "device.json").read_text())
        return found

    def happened(self, name: str, event: str) -> list[dict[str, Any]]:
        lines = (self.folder / name / "device.log").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    @property
    def record(self) -> Path:
        return self.state / "servers" / "video" / "home_record.json"

    def server(self) -> ProcessId | None:
        """The core server's process, None when it does not live."""
        try:
            known = json.loads(self.record.read_text())["process"]
        except (OSError, KeyError):
            return None
        found = ProcessId(**known) if known else None
        return found if found is not None and found.alive() else None

    # The agent's socket

    def get(self, path: str) -> Any:
        run = subprocess.run(
            [
                "curl",
                "-sf",
                "--max-time",
                "20",
                "--unix-socket",
                str(self.state / "agent.sock"),
                f"http://a{path}",
            ],
            capture_output=True,
            check=False,
        )
        return json.loads(run.stdout) if run.returncode == 0 and run.stdout else None

    def status(self, kind: str, name: str) -> dict[str, Any]:
        found = self.get(f"/v1/objects/{kind}/video/{name}") or {}
        status: dict[str, Any] = found.get("status") or {}
        return status

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any]:
        found = self.status(kind, name).get("conditions", [])
        return next((c for c in found if c["type"] == type_), {})

    def reaches(
        self, kind: str, name: str, type_: str, status: str = "True", reason: str | None = None
    ) -> dict[str, Any]:
        def there() -> Any:
            found = self.condition(kind, name, type_)
            return found if found.get("status") == status and reason in (None, found.get("reason")) else None

        result: dict[str, Any] = self.poll(f"{kind}/{name} {type_}={status} {reason or ''}", there)
        return result

    def poll(self, what: str, read: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (answer := read()):
            if time.monotonic() > deadline:
                log = (self.folder / "agent.log").read_text()[-3000:]
                raise AssertionError(f"never happened: {what}\n{self.get('/v1/objects')}\n{log}")
            threading.Event().wait(0.1)
        return answer

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        server = self.server()
        if server is not None:
            os.kill(server.pid, signal.SIGKILL)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.close()
    log = tmp_path / "agent.log"
    assert not log.exists() or "Traceback" not in log.read_text(), log.read_text()[-5000:]
