"""A gateway from a document: rop-agent runs rop-gateway and nginx beside its server, and says how they are."""

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from free_ports import free_ports
from rop_operator.adapters.process_table import find_process

BIN = Path(sys.executable).parent
NAME = "gw.example.net"
PASSWORD = "correct horse"


@pytest.fixture
def near(host: Any) -> Iterator[Any]:
    """The host in a folder whose path is short enough for sockets, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="rop"))
    host.state = folder / "s"
    yield host
    if host.agent is not None and host.agent.poll() is None:
        host.stop()
    # What outlives the agent is stopped as an administrator would: without the document.
    (host.fleet / "all.yaml").write_text(yaml.safe_dump(host.server_document()))
    host.start("--stop-servers")
    host.stop()
    assert find_process(("--config", str(document(host)))) is None
    shutil.rmtree(folder, ignore_errors=True)


def document(host: Any) -> Path:
    return Path(host.state) / "gateways" / "video" / "home" / "gateway.yaml"


def status(host: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((document(host).parent / "run" / "status.json").read_text())
    return found


class Front:
    """The document's gateway and a client of it."""

    def __init__(self, host: Any) -> None:
        self.host = host
        https, rtsps = free_ports(2)
        self.spec: dict[str, Any] = {"host": NAME, "httpsPort": https, "rtspsPort": rtsps}
        secret = host.secrets / "video" / "gateway"
        secret.mkdir(parents=True, mode=0o700)
        made = subprocess.run(
            [f"{BIN}/rop-gateway", "password", "alice"], input=PASSWORD, capture_output=True, text=True, check=True
        )
        (secret / "htpasswd").touch(mode=0o600)
        (secret / "htpasswd").write_text(made.stdout)

    def write(self, **members: Any) -> None:
        self.spec |= members
        ref = {"name": "gateway", "key": "htpasswd"}
        server = self.host.server_document(gateway={**self.spec, "basicAuthRef": ref})
        temporary = self.host.fleet / ".all"
        temporary.write_text(yaml.safe_dump(server))
        temporary.replace(self.host.fleet / "all.yaml")

    def answer(self, password: str = PASSWORD) -> tuple[int, Any]:
        """Status and body of a verified request."""
        root = self.host.state / "servers" / "video" / "home" / "certs" / "ECC" / "Root" / "ca.pem"
        context = ssl.create_default_context(cafile=str(root))
        raw = socket.create_connection(("127.0.0.1", self.spec["httpsPort"]), timeout=30)
        connection = http.client.HTTPSConnection("127.0.0.1", timeout=30)
        connection.sock = context.wrap_socket(raw, server_hostname=NAME)
        word = base64.b64encode(f"alice:{password}".encode()).decode()
        connection.request("GET", "/v1.0/devices", headers={"Authorization": f"Basic {word}"})
        told = connection.getresponse()
        return told.status, json.loads(told.read())


def test_the_life_of_a_gateway(near: Any) -> None:
    front = Front(near)
    front.write()
    near.start()
    near.reaches("RopServer", "home", "GatewayReady")
    near.reaches("RopServer", "home", "Ready")
    assert front.answer() == (200, {"totalRows": 0, "items": []})
    assert front.answer("wrong")[0] == 401
    told = near.status("RopServer", "home")["gateway"]
    assert told["url"] == f"https://{NAME}:{front.spec['httpsPort']}"
    assert told["serial"] == status(near)["certificate"]["serial"]

    first = find_process(("--config", str(document(near))))
    assert first is not None
    near.kill()
    assert front.answer()[0] == 200, "it outlives the agent"
    near.start()
    near.reaches("RopServer", "home", "GatewayReady")
    assert find_process(("--config", str(document(near)))) == first

    os.kill(first.pid, signal.SIGKILL)
    near.poll("another one runs", lambda: find_process(("--config", str(document(near)))) not in (None, first))
    near.poll("it answers", lambda: front.answer()[0] == 200)
    near.reaches("RopServer", "home", "GatewayReady")


def test_a_change_a_bad_secret_and_the_end(near: Any) -> None:
    front = Front(near)
    front.write()
    near.start()
    near.reaches("RopServer", "home", "GatewayReady")
    (port,) = free_ports(1)
    front.write(httpsPort=port)
    near.poll("the new port serves", lambda: status(near)["httpsPort"] == port and status(near)["serving"])
    near.reaches("RopServer", "home", "GatewayReady")
    assert front.answer()[0] == 200

    secret = near.secrets / "video" / "gateway" / "htpasswd"
    good = secret.read_text()
    secret.write_text("alice:plain words\n")
    near.reaches("RopServer", "home", "GatewayReady", "False", "PasswordsInvalid")
    assert front.answer()[0] == 200, "the passwords of before are in use"
    secret.write_text(good)
    near.reaches("RopServer", "home", "GatewayReady")

    near.write()
    near.poll("it ended", lambda: find_process(("--config", str(document(near)))) is None)
    near.poll("no condition", lambda: near.condition("RopServer", "home", "GatewayReady") == {})
    assert not (document(near).parent / "htpasswd").exists()
    with pytest.raises(OSError, match=r"refused"):
        front.answer()
