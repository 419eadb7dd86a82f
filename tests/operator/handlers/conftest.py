"""A cluster with an operator of minimal rights, core servers that run elsewhere, and virtual cameras."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from free_ports import free_ports

BIN = Path(sys.executable).parent
NUMBERS = itertools.count(1)
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
EXAMPLES = Path(__file__).parents[3] / "examples" / "cluster"


def shipped_rules() -> list[dict[str, Any]]:
    """The rights that the shipped example gives to the operator."""
    documents = yaml.safe_load_all((EXAMPLES / "operator.yaml").read_text())
    rules: list[dict[str, Any]] = next(d for d in documents if d["kind"] == "Role")["rules"]
    return rules


def poll(what: str, read: Callable[[], Any], patience: float = 40.0) -> Any:
    """Read until there is an answer; the deadline only bounds a failure."""
    deadline = time.monotonic() + patience
    while not (answer := read()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened: {what}")
        threading.Event().wait(0.1)
    return answer


@dataclass
class Site:
    """One namespace of the cluster with the processes around it."""

    plane: Any
    namespace: str
    folder: Path
    discovery_port: int
    ports: dict[str, int] = field(default_factory=dict)
    manage_port: int = 0
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    kubeconfig: Path | None = None

    poll = staticmethod(poll)
    free_ports = staticmethod(free_ports)

    def spawn(self, name: str, *command: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start_server(self) -> "subprocess.Popen[bytes]":
        """A core server with its management interface on TLS; the Secret `manage` has its token and authority."""
        *ports, self.manage_port = free_ports(len(PORT_MEMBERS) + 1)
        self.ports = dict(zip(PORT_MEMBERS, ports, strict=True))
        patch = {f"ports.{name}": port for name, port in self.ports.items()}
        patch["rop.management.listen"] = f"127.0.0.1:{self.manage_port}"
        environment = {**os.environ, "ROP_HOSTNAME": "127.0.0.1"}
        subprocess.run(
            [BIN / "rop-server", "configure", "--data", self.data, "--patch", "-"],
            input=json.dumps(patch),
            text=True,
            check=True,
            capture_output=True,
            env=environment,
            timeout=60,
        )
        made = subprocess.run(
            [BIN / "rop-server", "token", "create", "--data", self.data, "--scope", "Control", "--name", "test"],
            text=True,
            check=True,
            capture_output=True,
            timeout=60,
        )
        process = self.run_server()
        ca = poll("management keys", lambda: next(iter(self.data.glob("manage/ca.pem")), None))
        self.plane.secret(
            self.namespace, "manage", {"token": made.stdout.strip().encode(), "ca.crt": ca.read_bytes()}
        )
        return process

    def run_server(self) -> "subprocess.Popen[bytes]":
        process = self.spawn("server", "rop-server", "--data", str(self.data), "--bind", "127.0.0.1")
        poll("the server listens", lambda: '"ready"' in self.log("server"))
        return process

    def start_operator(self, name: str = "operator", *flags: str) -> "subprocess.Popen[bytes]":
        if self.kubeconfig is None:
            self.kubeconfig = self.plane.account(self.namespace, "operator", shipped_rules())
        return self.spawn(
            name,
            "rop-operator",
            *("--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, "--allow-loopback"),
            *("--lan-cidrs", "127.0.0.0/8", "--discovery-address", LOOPBACK_BROADCAST),
            *("--discovery-port", str(self.discovery_port), *flags),
        )

    def leading(self, name: str = "operator", times: int = 1) -> None:
        poll(f"{name} leads", lambda: self.log(name).count('"action": "ready"') >= times)

    def start_camera(self, name: str, uid: str, *traits: str) -> "subprocess.Popen[bytes]":
        process = self.spawn(
            name,
            "ropsim",
            *("camera", "--state", str(self.folder / name), "--uid", uid),
            *("--setup-address", "127.0.0.1", "--setup-port", "0", "--reconnect-min", "0.2"),
            *("--discovery-address", LOOPBACK_BROADCAST, "--discovery-port", str(self.discovery_port)),
            *traits,
        )
        poll(f"{name} listens", (self.folder / name / "ready.json").exists)
        return process

    def control(self, name: str, *command: str) -> None:
        """Tell a virtual camera to do something behind the engine's back."""
        folder = self.folder / name
        subprocess.run([BIN / "ropsim", "ctl", "--state", folder, *command], check=True, timeout=30)

    def device(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.folder / name / "device.json").read_text())
        return state

    def ropctl(self, *args: str, stdin: str | None = None, expect: int = 0) -> str:
        done = subprocess.run(
            [str(BIN / "ropctl"), "--kubeconfig", str(self.plane.kubeconfig), "-n", self.namespace, *args],
            input=stdin or "",
            text=True,
            check=False,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == expect, f"{args}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def apply(self, *documents: Mapping[str, Any]) -> None:
        self.ropctl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        status, item = self.plane.api(
            "GET", f"/apis/rop.dev/v1alpha1/namespaces/{self.namespace}/{kind.lower()}s/{name}"
        )
        return item if status == 200 else None

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any]:
        found = ((self.get(kind, name) or {}).get("status") or {}).get("conditions") or []
        return next((c for c in found if c["type"] == type_), {})

    def wait(self, kind: str, name: str, type_: str, status: str = "True", reason: str | None = None) -> None:
        def there() -> bool:
            found = self.condition(kind, name, type_)
            return found.get("status") == status and reason in (None, found.get("reason"))

        try:
            poll(f"{kind} {name} {type_}={status} {reason or ''}", there)
        except AssertionError as failure:
            item = self.get(kind, name) or {}
            raise AssertionError(
                f"{failure}\n{json.dumps(item.get('status'), indent=1)}\n{self.log('operator')[-4000:]}"
            ) from None

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()


@pytest.fixture
def operator_rules() -> list[dict[str, Any]]:
    """What the operator may do, no more."""
    return shipped_rules()


@pytest.fixture
def site(control_plane: Any, tmp_path: Path) -> Iterator[Site]:
    """A namespace with nothing running yet."""
    namespace = control_plane.namespace(f"site-{next(NUMBERS)}")
    (discovery,) = free_ports(1, socket.SOCK_DGRAM)
    made = Site(control_plane, namespace, tmp_path, discovery)
    try:
        yield made
    finally:
        made.close()
