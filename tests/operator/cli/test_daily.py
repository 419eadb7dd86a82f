"""Commands of every day, with a real agent, server and camera: look, turn, admit, tokens, alarms."""

import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from free_ports import free_ports
from rop_operator.cli.support import without_secrets

Run = Callable[..., Any]
DOME = "DOME000000000001"
PORTS = (
    *("getCAHttps", "getCertHttps", "registerHttps", "keepAliveTCP", "signalingTLS"),
    *("streamTLS", "streamTCP", "clientRtsp", "clientHttp"),
)


def home() -> dict[str, Any]:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    spec = {"host": "127.0.0.1", "ports": ports, "acknowledge": [{"edge": "NoBackup", "value": "home"}]}
    return {"apiVersion": "rop.dev/v1alpha1", "kind": "RopServer", "metadata": {"name": "home"}, "spec": spec}


def test_a_camera_is_admitted_seen_and_turned(
    on_host: Run, ropctl_command: Any, spawned: Run, until: Run, discovery: list[str], tmp_path: Path
) -> None:
    on_host("apply", "--wait", "-f", "-", stdin=yaml.safe_dump(home()))
    where = tmp_path / "dome"
    spawned(
        *("ropsim", "camera", "--state", str(where), "--uid", DOME, "--ptz", "--setup-port", "0"),
        *("--reconnect-min", "0.2", *discovery[1:]),
    )
    until("the dome listens", (where / "ready.json").exists)
    assert on_host("admit", DOME, "--name", "dome").stdout == "camera.rop.dev/dome created\n"
    assert "has this UID already" in on_host("admit", DOME, expect=1).stderr
    assert "has seen" in on_host("admit", "NOBODY0000000000", expect=1).stderr
    until("codes are made", lambda: on_host("qr", "dome", "--once", expect=None).returncode == 0)
    on_host("provision", "dome", "-y", *discovery)

    picture = subprocess.run(ropctl_command("snapshot", "dome"), capture_output=True, check=False, timeout=90)
    assert picture.returncode == 0, picture.stderr
    assert picture.stdout.startswith(b"\xff\xd8\xff")
    played = on_host("play", "dome")
    assert played.stdout.startswith("rtsp://127.0.0.1:")
    assert "within" in played.stderr
    assert "DeviceChannelNotFound" in on_host("play", "dome", "--channel", "9", expect=1).stderr
    on_host("ptz", "dome", "leftUp", "--seconds", "0.1")
    on_host("ptz", "dome", "zoom-in")
    told = [json.loads(line) for line in (where / "device.log").read_text().splitlines()]
    assert [entry["ptz"] for entry in told if "ptz" in entry] == ["leftUp", "stop", "zoomInc"]

    of_dome = on_host("logs", "dome", "--level", "info").stdout.splitlines()
    assert any(" INFO " in line and "device-online" in line for line in of_dome)
    assert all(DOME in line for line in of_dome)
    changes = json.loads(on_host("logs", "dome", "--audit", "-o", "json").stdout)["items"]
    turned = [each for each in changes if "/ptz/" in each["operation"]]
    by_us = ("address 127.0.0.1", 200, DOME)
    assert [(each["caller"], each["status"], each["uid"]) for each in turned] == [by_us] * 3
    assert "open_session" in [each["operation"] for each in changes if each["interface"] == "Management"]

    on_host("delete", "camera", "dome")
    assert on_host("admit", DOME, "--name", "dome").stdout == "camera.rop.dev/dome created\n"
    until("it is back", lambda: "Online" in on_host("get", "camera", "dome").stdout)


def test_tokens_and_alarms_of_a_server(on_host: Run, uid: str) -> None:
    on_host("apply", "--wait", "-f", "-", stdin=yaml.safe_dump(home()))
    made = on_host("token", "create", "wall", "--verb", "read", "--verb", "live", "--label", "place=yard")
    assert made.stdout.startswith("rop_")
    assert "rop_" not in made.stderr
    listed = on_host("token", "list").stdout
    assert "place=yard" in listed
    assert made.stdout.strip() not in listed
    assert on_host("token", "create", "wall", "--verb", "read", expect=1).stderr.count("TokenExists") == 1
    assert on_host("token", "revoke", "wall").stdout == "wall is revoked\n"
    assert "wall" not in on_host("token", "list").stdout
    assert "TokenUnknown" in on_host("token", "revoke", "wall", expect=1).stderr

    told = json.loads(on_host("alarms", "status", "-o", "json").stdout)
    assert set(told) == {"sinks", "dropped"}
    assert on_host("alarms", "status").stdout.split()[:3] == ["SINK", "ADDRESS", "STATE"]
    assert json.loads(on_host("alarms", "dead", "--uid", uid, "-o", "json").stdout) == {"items": []}
    assert on_host("alarms", "replay").stdout == "0 alarms are sent again\n"
    assert "uid" in on_host("alarms", "dead", "--uid", "x", expect=1).stderr


def test_a_support_bundle_tells_much_and_no_secret(on_host: Run, tmp_path: Path) -> None:
    document = home()
    document["metadata"]["annotations"] = {"note": "c4n4ry-annotation"}
    on_host("apply", "--wait", "-f", "-", stdin=yaml.safe_dump(document))
    token = on_host("token", "create", "wall", "--verb", "read").stdout.strip()
    path = tmp_path / "support.tar.gz"
    on_host("support-bundle", "--to", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        files = {each.name.removeprefix("rop-support/"): archive.extractfile(each) for each in archive}
        told = {name: file.read() for name, file in files.items() if file is not None}
    assert set(told) >= {
        *("about.json", "checks.json", "events.json", "documents/RopServer/home.yaml"),
        *(f"servers/home/{each}.json" for each in ("devices", "authority", "alarms", "logs", "audit")),
    }
    assert json.loads(told["about.json"])["missing"] == {}
    assert "ready" in [each["action"] for each in json.loads(told["servers/home/logs.json"])["items"]]
    everything = b"".join(told.values())
    config = json.loads(next(tmp_path.glob("state/**/config.json")).read_bytes())
    canaries = [config["authCode"]["signKey"], *config["deviceAuth"]["deviceKeys"].values(), token]
    for canary in (*canaries, "PRIVATE KEY", "c4n4ry"):
        assert canary.encode() not in everything
    assert "exists already" in on_host("support-bundle", "--to", str(path), expect=1).stderr


def test_addresses_are_masked_wherever_they_stand() -> None:
    given = {"a": ["see https://u:p@h/x?key=c4n4ry#f and rtsp://h/y"], "b": 1, "c": "a?b"}
    masked = {"a": ["see https://***@h/x?***#f and rtsp://h/y"], "b": 1, "c": "a?b"}
    assert without_secrets(given) == masked
