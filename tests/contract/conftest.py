"""A real rop-server process and real ropsim processes, on loopback."""

import contextlib
import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from free_ports import free_ports

BIN = Path(sys.executable).parent
LOOPBACK_BROADCAST = "127.255.255.255"
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
PATIENCE = 30.0


def poll(what: str, read: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Read until there is an answer; the deadline only bounds a failure."""
    deadline = time.monotonic() + patience
    while not (answer := read()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened: {what}")
        threading.Event().wait(0.05)
    return answer


@dataclass
class Process:
    """A process that can be killed and started again; its output is appended to a file."""

    command: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.command, stdout=log, stderr=log, env={**os.environ, **self.environment}
            )

    def kill(self) -> None:
        """SIGKILL."""
        assert self.running is not None
        self.running.kill()
        self.running.wait()

    def stop(self) -> int:
        assert self.running is not None
        if self.running.poll() is None:
            self.running.send_signal(signal.SIGTERM)
        return self.running.wait(20)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("server", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self._path))


@dataclass
class Site:
    """One server with its data directory."""

    data: Path
    ports: dict[str, int]
    process: Process

    def configure(self, **members: Any) -> None:
        """Change config.json while the server is stopped; `__` stands for the dot."""
        dotted = {name.replace("__", "."): value for name, value in members.items()}
        run = subprocess.run(
            [f"{BIN}/rop-server", "configure", "--data", str(self.data), "--patch", "-"],
            input=json.dumps(dotted),
            env={**os.environ, "ROP_HOSTNAME": "127.0.0.1"},
            text=True,
            capture_output=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr

    def start(self) -> None:
        self.process.start()

        def ready() -> bool:
            assert self.process.running is not None
            assert self.process.running.poll() is None, self.process.log.read_text()
            with contextlib.suppress(OSError):
                return self.manage("GET", "/ready")[0] == 200
            return False

        poll("the server is ready", ready)

    def restart(self, **members: Any) -> None:
        assert self.process.stop() == 0
        self.configure(**members)
        self.start()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The client API: status and JSON document."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["clientHttp"], timeout=30)
        return _exchange(connection, method, path, body, {})

    def manage(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The management interface: status and JSON document."""
        connection = UnixConnection(self.data / "run" / "manage.sock")
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return _exchange(connection, method, f"/manage/v1{path}", body, told)

    def open_enrolment(self) -> None:
        """Let any UID enrol."""
        _, manager = self.manage("PUT", "/manager", {"id": "contract", "takeOver": True})
        claims = {"policy": "Open", "uids": []}
        status, _ = self.manage("PUT", f"/claims?fence={manager['fence']}", claims, Rop_Manager="contract")
        assert status == 200

    def session(self, uid: str) -> dict[str, Any]:
        """An initialization session."""
        status, document = self.call("POST", "/v1.0/devices/initialization-session", {"uid": uid})
        assert status == 200, document
        assert isinstance(document, dict)
        return document

    def online(self, uid: str) -> dict[str, Any] | None:
        """The device in the list of the client API."""
        items = self.call("GET", "/v1.0/devices")[1]["items"]
        return next((item for item in items if item["uid"] == uid), None)


def _exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any, headers: dict[str, str]
) -> tuple[int, Any]:
    with contextlib.closing(connection):
        sent = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, sent, {**kind, **headers})
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None


@dataclass
class Camera:
    """One ropsim process and its folder."""

    uid: str
    folder: Path
    process: Process

    def start(self) -> None:
        (self.folder / "ready.json").unlink(missing_ok=True)
        self.process.start()
        poll(f"{self.uid} listens", (self.folder / "ready.json").exists)

    @property
    def ready(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "ready.json").read_text())
        return found

    def set_up(self, document: dict[str, Any], path: str = "/rop/setup") -> tuple[int, Any]:
        """The hand-over, as a tool does it."""
        where = self.ready["setup"]
        connection = http.client.HTTPConnection(where["address"], where["port"], timeout=60)
        return _exchange(connection, "POST", path, document, {})

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        lines = (self.folder / "device.log").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if name in (None, entry["event"])]

    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "device.json").read_text())
        return found

    def identity(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "identity" / "identity.json").read_text())
        return found

    def ctl(self, *command: str, expect: int = 0) -> str:
        run = subprocess.run(
            [f"{BIN}/ropsim", "ctl", "--state", str(self.folder), *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=40,
        )
        assert run.returncode == expect, run.stdout + run.stderr
        return run.stdout + run.stderr


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    data = tmp_path / "data"
    command = [f"{BIN}/rop-server", "--data", str(data), "--bind", "127.0.0.1"]
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    one = Site(data, ports, Process(command, tmp_path / "server.log"))
    one.configure(**{f"ports__{name}": number for name, number in ports.items()})
    one.start()
    one.open_enrolment()
    yield one
    one.process.stop()
    log = one.process.log.read_text()
    assert "Traceback" not in log, log


@pytest.fixture
def add_camera(tmp_path: Path) -> Iterator[Callable[..., Camera]]:
    """Start cameras; at the end none has seen the server break the protocol."""
    cameras: list[Camera] = []
    (discovery,) = free_ports(1, socket.SOCK_DGRAM)

    def add(uid: str, *traits: str) -> Camera:
        folder = tmp_path / uid
        command = [f"{BIN}/ropsim", "camera", "--state", str(folder), "--uid", uid, "--reconnect-min", "0.2"]
        command += ["--discovery-address", LOOPBACK_BROADCAST, "--discovery-port", str(discovery), *traits]
        one = Camera(uid, folder, Process(command, tmp_path / f"{uid}.log"))
        one.start()
        cameras.append(one)
        return one

    yield add
    for one in cameras:
        one.process.stop()
        assert one.events("violation") == [], one.uid
        assert "Traceback" not in one.process.log.read_text()


@pytest.fixture
def joined(site: Site, add_camera: Callable[..., Camera]) -> Callable[..., Camera]:
    """A camera that has been handed over to the site and is online."""

    def join(uid: str, *traits: str) -> Camera:
        one = add_camera(uid, *traits)
        status, answer = one.set_up(site.session(uid))
        assert (status, answer) == (200, {"message": "ok"})
        poll(f"{uid} is online", lambda: site.online(uid))
        return one

    return join


@dataclass
class Webhook:
    """An address that takes alarms."""

    url: str
    bodies: list[dict[str, Any]]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    bodies: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Webhook(f"http://127.0.0.1:{server.server_port}/alarms", bodies)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(name="poll")
def poll_fixture() -> Callable[..., Any]:
    return poll
