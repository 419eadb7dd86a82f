"""What the server tells systemd, by the real program with a real socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from free_ports import free_ports

NAMES = (
    *("getCAHttps", "getCertHttps", "registerHttps", "keepAliveTCP", "signalingTLS"),
    *("streamTLS", "streamTCP", "clientRtsp", "clientHttp"),
)


def test_ready_alive_stopping(tmp_path: Path) -> None:
    ports = ",".join(f'"ports.{name}": {port}' for name, port in zip(NAMES, free_ports(len(NAMES)), strict=True))
    environment = {**os.environ, "ROP_HOSTNAME": "127.0.0.1"}
    program = [sys.executable, "-m", "rop_server"]
    data = ["--data", str(tmp_path / "data")]
    subprocess.run(
        [*program, "configure", *data, "--patch", "-"],
        input=f"{{{ports}}}".encode(),
        env=environment,
        check=True,
        timeout=60,
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        with subprocess.Popen([*program, *data, "--bind", "127.0.0.1"], env=environment) as server:
            heard = {systemd.recv(500)}
            while heard < {b"READY=1", b"WATCHDOG=1"}:
                heard.add(systemd.recv(500))
            server.send_signal(signal.SIGTERM)
            while b"STOPPING=1" not in heard:
                heard.add(systemd.recv(500))
        assert server.returncode == 0


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "config.json").write_text("{")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        program = [sys.executable, "-m", "rop_server", "--data", str(data)]
        done = subprocess.run(program, env=environment, capture_output=True, check=False, timeout=60)
        assert done.returncode == 78
        assert systemd.recv(1000).startswith(b"STATUS=config.json: must be strict JSON")
