"""Two worlds for one scenario: a plain host (rop-agent) and a cluster (kube-apiserver, etcd, rop-operator)."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml

from free_ports import free_ports

BIN = Path(sys.executable).parent
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
NAMESPACE = "video"
PATIENCE = 60.0


def poll(what: str, read: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Read until there is an answer; the deadline only bounds a failure."""
    deadline = time.monotonic() + patience
    while not (answer := read()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened: {what}")
        threading.Event().wait(0.2)
    return answer


@dataclass
class Part:
    """A process that a test may kill and start again. Its output is appended to a log file."""

    name: str
    command: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class World:
    """What the scenario needs from a host; `flags` make ropctl talk to it."""

    name: str
    folder: Path
    discovery_port: int
    flags: list[str] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=dict)
    cameras: dict[str, Part] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, *command: str) -> Part:
        part = Part(name, command, self.folder / f"{name}.log")
        part.start()
        self.parts[name] = part
        return part

    def ropctl(
        self, *args: str, stdin: str | None = None, expect: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        command = [f"{BIN}/ropctl", *self.flags, "-n", NAMESPACE, *args]
        run = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)
        assert expect is None or run.returncode == expect, f"{args}: {run.returncode}\n{run.stdout}{run.stderr}"
        return run

    def apply(self, *documents: dict[str, Any], expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.ropctl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents), expect=expect)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        run = self.ropctl("get", kind, name, "-o", "json", expect=None)
        if run.returncode != 0:
            return None
        found: dict[str, Any] = json.loads(run.stdout)
        return found["items"][0] if "items" in found else found

    def condition(self, name: str, type_: str, kind: str = "camera") -> dict[str, Any]:
        conditions = ((self.get(kind, name) or {}).get("status") or {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == type_), {})

    def wait(
        self, name: str, type_: str, status: str = "True", reason: str | None = None, kind: str = "camera"
    ) -> None:
        def there() -> bool:
            found = self.condition(name, type_, kind)
            return found.get("status") == status and reason in (None, found.get("reason"))

        try:
            poll(f"{kind} {name}: {type_}={status} {reason or ''}", there)
        except AssertionError as failure:
            document = self.get(kind, name)
            raise AssertionError(f"{failure}\n{json.dumps((document or {}).get('status'), indent=1)}") from None

    def camera(self, name: str, uid: str, *traits: str) -> Part:
        """Start a virtual camera that answers discovery and set-up."""
        part = Part(
            f"camera-{name}",
            [
                f"{BIN}/ropsim",
                "camera",
                *("--state", str(self.folder / name), "--uid", uid),
                *("--setup-address", "127.0.0.1", "--setup-port", "0"),
                *("--discovery-address", LOOPBACK_BROADCAST, "--discovery-port", str(self.discovery_port)),
                *("--reconnect-min", "0.2"),
                *traits,
            ],
            self.folder / f"camera-{name}.log",
        )
        part.start()
        self.cameras[name] = part
        poll(f"{name} listens", (self.folder / name / "ready.json").exists)
        return part

    def device_state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.folder / name / "device.json").read_text())
        return state

    def device_log(self, name: str, event: str) -> list[dict[str, Any]]:
        lines = (self.folder / name / "device.log").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def ctl(self, name: str, *command: str) -> None:
        subprocess.run(
            [f"{BIN}/ropsim", "ctl", "--state", str(self.folder / name), *command], check=True, timeout=30
        )

    def server_data(self) -> Path:
        raise AssertionError("a world says where its server's data is")

    def server_document(self) -> dict[str, Any]:
        raise AssertionError("a world says how its server is written")

    def kill_server(self) -> None:
        """SIGKILL the core server; whoever supervises it brings it back."""
        raise AssertionError("a world knows how its server runs")

    @property
    def engine(self) -> Part:
        """The process that reconciles: agent or operator."""
        return self.parts["engine"]

    def restart_engine(self) -> None:
        """SIGKILL the engine and start it again; returns when it takes documents again."""
        self.engine.kill()
        self.engine.start()
        poll("the engine answers", lambda: self.ropctl("get", "cameras", expect=None).returncode == 0)

    def close(self) -> None:
        for part in [*reversed(self.parts.values()), *self.cameras.values()]:
            part.stop()


def camera_document(name: str, uid: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "Camera",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"serverRef": {"name": "home"}, "uid": uid, "provision": {"attempt": 1, "lan": {}}, **spec},
    }


def server_spec(ports: dict[str, int], archives: Path) -> dict[str, Any]:
    """A server that is Ready once its keys are in a verified archive."""
    archives.mkdir()
    keys = {name: str(pyrage.x25519.Identity.generate().to_public()) for name in ("alice", "bob")}
    backup = {
        "recipients": [{"name": name, "key": key} for name, key in keys.items()],
        "targets": [{"name": "disk", "directory": {"path": str(archives)}}],
    }
    return {"host": "127.0.0.1", "ports": ports, "settingsResync": "1s", "backup": backup}


def pids_of(*words: str) -> list[int]:
    """Processes whose command line has all these words."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if all(any(word.encode() in part for part in command) for word in words):
            found.append(int(entry.name))
    return found


LAN_FLAGS = ("--lan-cidrs", "127.0.0.0/8", "--allow-loopback", "--discovery-address", LOOPBACK_BROADCAST)


class HostWorld(World):
    """A plain host: the agent watches a folder and runs the server itself."""

    def server_data(self) -> Path:
        return self.folder / "state" / "servers" / NAMESPACE / "home"

    def open(self) -> None:
        state, fleet = self.folder / "state", self.folder / "fleet"
        fleet.mkdir()
        self.flags = ["--state", str(state)]
        self.add(
            "engine",
            f"{BIN}/rop-agent",
            *("--dir", str(fleet), "--state", str(state), "--stop-servers"),
            *(*LAN_FLAGS, "--discovery-port", str(self.discovery_port)),
        )
        poll("the agent answers", lambda: self.ropctl("get", "cameras", expect=None).returncode == 0)
        spec = server_spec(self.ports, self.folder / "archives")
        self.apply(
            {**API, "kind": "RopServer", "metadata": {"name": "home", "namespace": NAMESPACE}, "spec": spec}
        )
        self.wait("home", "Ready", kind="ropserver")

    def kill_server(self) -> None:
        for pid in pids_of("rop-server", str(self.server_data())):
            os.kill(pid, signal.SIGKILL)


class ClusterWorld(World):
    """A real API server with rop-operator; the core server runs elsewhere and is reached over TLS with a token."""

    kubeconfig: str = ""
    kubectl: str = "kubectl"

    def server_data(self) -> Path:
        return self.folder / "server"

    def kube(self, *args: str, stdin: str | None = None) -> str:
        run = subprocess.run(
            [self.kubectl, "--kubeconfig", self.kubeconfig, *args],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    def open(self) -> None:
        (management,) = free_ports(1)
        data = str(self.server_data())
        members: dict[str, Any] = {f"ports.{name}": number for name, number in self.ports.items()}
        members["rop.management.listen"] = f"127.0.0.1:{management}"
        environment = {
            **os.environ,
            "ROP_HOSTNAME": "127.0.0.1",
            "RTSP_PLAY_URL_PREFIX": f"rtsp://127.0.0.1:{self.ports['clientRtsp']}",
        }
        configure = [f"{BIN}/rop-server", "configure", "--data", data, "--patch", "-"]
        subprocess.run(configure, input=json.dumps(members), env=environment, text=True, check=True, timeout=60)
        create = [f"{BIN}/rop-server", "token", "create", "--data", data, "--scope", "Admin"]
        token = subprocess.run(create, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
        self.add("server", f"{BIN}/rop-server", "--data", data, "--bind", "127.0.0.1")
        poll("the management CA is there", (self.server_data() / "manage" / "ca.pem").exists)

        self.flags = ["--kubeconfig", self.kubeconfig]
        self.kube("create", "namespace", NAMESPACE)
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "home", "namespace": NAMESPACE, "labels": {"rop.dev/referable": "true"}},
            "stringData": {"token": token, "ca.crt": (self.server_data() / "manage" / "ca.pem").read_text()},
        }
        self.kube("apply", "-f", "-", stdin=json.dumps(secret))
        spec = server_spec(self.ports, self.folder / "archives")
        spec["external"] = {
            "url": f"https://127.0.0.1:{management}",
            "interface": "Management",
            "caRef": {"name": "home", "key": "ca.crt"},
            "tokenRef": {"name": "home", "key": "token"},
        }
        self.apply(
            {**API, "kind": "RopServer", "metadata": {"name": "home", "namespace": NAMESPACE}, "spec": spec}
        )
        self.add(
            "engine",
            f"{BIN}/rop-operator",
            *("--kubeconfig", self.kubeconfig, "--namespace", NAMESPACE),
            *(*LAN_FLAGS, "--discovery-port", str(self.discovery_port)),
        )
        self.wait("home", "Ready", kind="ropserver")

    def kill_server(self) -> None:
        self.parts["server"].kill()
        self.parts["server"].start()


API = {"apiVersion": "rop.dev/v1alpha1"}


@pytest.fixture(scope="module", params=["host", "cluster"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The host the scenario runs on."""
    kind = HostWorld if request.param == "host" else ClusterWorld
    (discovery,) = free_ports(1, socket.SOCK_DGRAM)
    made = kind(request.param, tmp_path_factory.mktemp(request.param), discovery)
    made.ports = dict(zip(PORT_MEMBERS, free_ports(len(PORT_MEMBERS)), strict=True))
    if isinstance(made, ClusterWorld):
        plane = request.getfixturevalue("control_plane")
        made.kubeconfig, made.kubectl = str(plane.kubeconfig), str(plane.binaries / "kubectl")
    try:
        made.open()
        yield made
    finally:
        made.close()


@pytest.fixture(name="camera_document")
def camera_document_fixture() -> Callable[..., dict[str, Any]]:
    return camera_document


@pytest.fixture(name="poll")
def poll_fixture() -> Callable[..., Any]:
    return poll


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each world is opened once: its steps stay on one worker."""
    for item in items:
        world_name = getattr(item, "callspec", None) and item.callspec.params.get("world")  # type: ignore[attr-defined]
        if world_name:
            item.add_marker(pytest.mark.xdist_group(f"e2e-{world_name}"))
