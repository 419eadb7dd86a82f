"""`ropctl qr`: a code as a picture, and a sheet that ends when its camera is online."""

import json
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from free_ports import free_ports

Run = Callable[..., Any]
PORTS = (
    *("getCAHttps", "getCertHttps", "registerHttps", "keepAliveTCP", "signalingTLS"),
    *("streamTLS", "streamTCP", "clientRtsp", "clientHttp"),
)


def documents(uid: str) -> str:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    demo = [{"edge": "NoBackup", "value": "home"}]
    home = {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "RopServer",
        "metadata": {"name": "home"},
        "spec": {"host": "127.0.0.1", "ports": ports, "acknowledge": demo},
    }
    camera = {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "Camera",
        "metadata": {"name": "front-door"},
        "spec": {"serverRef": {"name": "home"}, "uid": uid},
    }
    return json.dumps(home) + "\n---\n" + json.dumps(camera)


def test_pictures_and_a_sheet_that_closes_itself(
    on_host: Run, ropctl_command: Any, until: Run, uid: str, discovery: list[str], tmp_path: Path
) -> None:
    on_host("apply", "-f", "-", stdin=documents(uid))
    until("codes are made", lambda: on_host("qr", "front-door", "--once", expect=None).returncode == 0)
    drawn = on_host("qr", "front-door", "--format", "svg")
    assert drawn.stdout.startswith("<svg xmlns=")
    assert "valid for" in drawn.stderr
    assert "127.0.0.1 is not a public address; a camera that only has 4G cannot reach it" in drawn.stderr
    picture = subprocess.run(
        ropctl_command("qr", "front-door", "--format", "png"), capture_output=True, check=True, timeout=60
    )
    assert picture.stdout.startswith(b"\x89PNG\r\n")

    with (tmp_path / "sheet.log").open("wb") as log:
        sheet = subprocess.Popen(ropctl_command("qr", "--sheet"), stdout=subprocess.PIPE, stderr=log, text=True)
    assert sheet.stdout is not None
    address = sheet.stdout.readline().split()[-1]
    root, _, key = address.partition("/#")
    headers = {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{root}/cameras/front-door/code", method="POST", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        code = json.load(answer)
    assert code["svg"].startswith("<svg")
    assert 0 < code["seconds"] <= 60

    on_host("provision", "front-door", "-y", *discovery)
    assert sheet.stdout.readline() == "every camera is online\n"
    assert sheet.wait(30) == 0
    assert on_host("qr", "--sheet").stderr == "Every camera is online.\n"
    logs = (tmp_path / "agent.log").read_text() + (tmp_path / "sheet.log").read_text()
    assert "svg" not in logs
    assert key not in logs
