"""A real rop-gateway with a real nginx in front of a real rop-server."""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from free_ports import free_ports

BIN = Path(sys.executable).parent
HOST = "gw.example.net"
PASSWORD = "correct horse"  # of user alice


@dataclass
class Answer:
    """Status, headers in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def symbol(self) -> Any:
        return self.json()["error"]["symbol"]


def basic(user: str = "alice", password: str = PASSWORD) -> dict[str, str]:
    """The header of a user."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    """The header of a token."""
    return {"Authorization": f"Bearer {token}"}


@dataclass
class Gateway:
    """The program, its document and its clients."""

    folder: Path
    site: Any
    process: Any
    members: dict[str, Any]
    trusted: Path | None = None
    client_pair: tuple[Path, Path] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / "gateway.yaml"

    def write(self, **members: Any) -> None:
        """Change the document."""
        self.members |= members
        temporary = self.folder / "gateway.new"
        temporary.write_text(json.dumps(self.members))
        temporary.replace(self.path)

    def command(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `rop-gateway` to its end."""
        command = [f"{BIN}/rop-gateway", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)

    def status(self) -> dict[str, Any]:
        """What it says of itself, empty before the first time."""
        with contextlib.suppress(OSError, ValueError):
            told: dict[str, Any] = json.loads((self.folder / "d" / "status.json").read_text())
            return told
        return {}

    def look(self) -> None:
        """Have it look at its files now."""
        self.process.running.send_signal(1)

    def context(self) -> ssl.SSLContext:
        """A client that trusts what it should."""
        context = ssl.create_default_context(cafile=None if self.trusted is None else str(self.trusted))
        if self.client_pair is not None:
            context.load_cert_chain(*self.client_pair)
        return context

    def connect(self, port: str = "httpsPort", context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """A TLS connection that verified the host."""
        raw = socket.create_connection(("127.0.0.1", self.members[port]), timeout=30)
        return (context or self.context()).wrap_socket(raw, server_hostname=HOST)

    def call(self, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        """One request over HTTPS."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.members["httpsPort"], timeout=60)
        connection.sock = self.connect()
        with contextlib.closing(connection):
            sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            told = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in {"Content-Length": str(len(sent or b"")), **told}.items():
                connection.putheader(name, value)
            connection.endheaders(sent)
            answer = connection.getresponse()
            raw = answer.read()
            return Answer(answer.status, {n.lower(): v for n, v in answer.getheaders()}, raw)

    def raw(self, data: bytes) -> Answer:
        """Bytes as they are, over HTTPS."""
        sock = self.connect()
        with contextlib.closing(sock):
            sock.sendall(data)
            answer = http.client.HTTPResponse(sock)
            answer.begin()
            return Answer(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())

    def token(self, name: str, *verbs: str, cameras: Any = None, days: float = 1) -> str:
        """A token of a manager."""
        ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        body = {"name": name, "verbs": list(verbs), "cameras": cameras, "expiresAt": ends.isoformat()}
        status, told = self.manage("POST", "/gateway/tokens", body)
        assert status == 200, told
        return str(told["token"])

    def manage(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A fenced call of the management interface."""
        _, manager = self.site.manage("GET", "/manager")
        return self.site.manage(  # type: ignore[no-any-return]
            method, f"{path}?fence={manager['fence']}", body, Rop_Manager=manager["id"]
        )


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path is short enough for sockets, which pytest's own is not."""
    made = Path(tempfile.mkdtemp(prefix="rop"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def gateway(site: Any, short_path: Path, poll: Callable[..., Any]) -> Iterator[Callable[..., Gateway]]:
    """Start gateways: `gateway(member=value)`; it is ready when this returns, unless `wait` is False."""
    started: list[Gateway] = []
    # The data directory of a test lies too deep for a socket's path; a link does not.
    (short_path / "s").symlink_to(site.data / "run" / "gateway")
    (short_path / "htpasswd").write_text(_line("alice", PASSWORD) + "\n" + _line("guard", PASSWORD) + "\n")
    (short_path / "root.pem").write_bytes((site.data / "certs" / "ECC" / "Root" / "ca.pem").read_bytes())

    def start(wait: bool = True, **members: Any) -> Gateway:
        https, rtsps = free_ports(2)
        least = {
            "host": HOST,
            "listen": ["127.0.0.1"],
            "httpsPort": https,
            "rtspsPort": rtsps,
            "directory": str(short_path / "d"),
            "sockets": str(short_path / "s"),
            "htpasswdFile": str(short_path / "htpasswd"),
            "limits": {"checkInterval": "1s", "requestsPerSecond": 1000, "burst": 1000},
        }
        process = type(site.process)(
            [f"{BIN}/rop-gateway", "run", "--config", str(short_path / "gateway.yaml")], short_path / "gateway.log"
        )
        made = Gateway(short_path, site, process, least | members, trusted=short_path / "root.pem")
        made.write()
        status, told = made.manage("PUT", "/config", {"members": {"rop.gateway": {"hosts": [HOST]}}})
        assert status == 200, told
        process.start()
        started.append(made)
        if wait:
            poll("the gateway serves", lambda: _serving(made))
        return made

    yield start
    for each in started:
        each.process.stop()
        log = each.process.log.read_text()
        assert "Traceback" not in log, log
        assert not (short_path / "d" / "nginx.pid").exists(), "nginx was left running"


def _serving(gateway: Gateway) -> bool:
    assert gateway.process.running.poll() is None, gateway.process.log.read_text()
    return bool(gateway.status().get("serving")) and gateway.status()["reason"] == "Ready"


def _line(user: str, password: str) -> str:
    done = subprocess.run(
        [f"{BIN}/rop-gateway", "password", user], input=password, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(name="basic")
def basic_fixture() -> Callable[..., dict[str, str]]:
    return basic


@pytest.fixture(name="bearer")
def bearer_fixture() -> Callable[..., dict[str, str]]:
    return bearer


class ClientPairs:
    """Certificates of clients, by an authority of their own and by a stranger of the same name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authority = self._ca("clients")
        self._ca("strangers")

    def _run(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self._folder, capture_output=True, check=True)

    def _ca(self, name: str) -> Path:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")
        self._run("req", "-x509", *key, "-out", f"{name}.pem", "-subj", "/CN=clients", "-days", "2")
        return self._folder / f"{name}.pem"

    def __call__(self, name: str, trusted: bool = True) -> tuple[Path, Path]:
        by = "clients" if trusted else "strangers"
        stem = f"{name}-{by}"
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{stem}.key")
        self._run("req", *key, "-out", f"{stem}.csr", "-subj", f"/CN={name}")
        issuer = ("-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial")
        self._run("x509", "-req", "-in", f"{stem}.csr", *issuer, "-out", f"{stem}.pem", "-days", "1")
        return self._folder / f"{stem}.pem", self._folder / f"{stem}.key"


@pytest.fixture
def client_pairs(short_path: Path) -> ClientPairs:
    """Makes pairs: `client_pairs("wall")`."""
    return ClientPairs(short_path)
