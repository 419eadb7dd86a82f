"""One scenario, two hosts: the same steps against rop-agent and against rop-operator on a real API server."""

import hashlib
import json
import random
import socket
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.timeout(420)]

CameraDocument = Callable[..., dict[str, Any]]
Poll = Callable[..., Any]


def identity_files(world: Any, name: str) -> dict[str, bytes]:
    """What makes a camera the camera it is, and the authority that made it."""
    folders = [world.folder / name / "identity", world.server_data() / "certs" / "ECC" / "Root"]
    return {str(f): f.read_bytes() for folder in folders for f in sorted(folder.rglob("*")) if f.is_file()}


def test_a_camera_goes_from_yaml_to_ready(world: Any, camera_document: CameraDocument) -> None:
    world.camera("front-door", "E2E0FRONTDOOR001")
    world.camera("gate", "E2E0GATE00000001", "--battery")
    documents = [
        camera_document("front-door", "E2E0FRONTDOOR001", displayName="Front door"),
        camera_document("gate", "E2E0GATE00000001", displayName="Gate"),
    ]
    stream = "\n---\n".join(map(json.dumps, documents))
    planned = json.loads(world.ropctl("plan", "-f", "-", "-o", "json", stdin=stream, expect=2).stdout)
    world.apply(*documents)
    world.wait("front-door", "Ready")
    world.wait("gate", "Ready")
    world.wait("gate", "Online", reason="Asleep")
    assert world.condition("front-door", "Provisioned")["status"] == "True"
    assert len(world.device_log("front-door", "setup")) == 1
    assert world.get("ropserver", "home")["status"]["conditions"]
    # What the plan said is what the devices saw: the hand-overs, then one write each, one wake for the sleeper.
    seen = [len(world.device_log(name, "setup")) for name in ("front-door", "gate")]
    assert planned["totals"]["writes"] == sum(seen) == 2
    written = [len(world.device_log(name, "write")) for name in ("front-door", "gate")]
    assert planned["totalsLater"]["writes"] == sum(written) == 2
    assert len(world.device_log("gate", "woken")) == 1 <= planned["totalsLater"]["wakes"]


def test_a_change_in_yaml_reaches_the_device(world: Any, camera_document: CameraDocument, poll: Poll) -> None:
    world.camera("hall", "E2E0HALL00000001")
    world.apply(camera_document("hall", "E2E0HALL00000001", displayName="Hall"))
    world.wait("hall", "Ready")
    world.apply(camera_document("hall", "E2E0HALL00000001", displayName="Hall two"))
    poll("the new name is on the device", lambda: world.device_state("hall")["deviceName"] == "Hall two")
    world.wait("hall", "SettingsInSync")
    writes = [e for e in world.device_log("hall", "write") if e.get("deviceName") == "Hall two"]
    assert len(writes) == 1


def test_a_change_behind_our_back_is_repaired_or_reported(
    world: Any, camera_document: CameraDocument, poll: Poll
) -> None:
    world.camera("barn", "E2E0BARN00000001")
    document = camera_document("barn", "E2E0BARN00000001", displayName="Barn")
    world.apply(document)
    world.wait("barn", "Ready")

    world.ctl("barn", "set-name", "Mallory")
    poll("the name is repaired", lambda: world.device_state("barn")["deviceName"] == "Barn")

    document["spec"]["policy"] = {"default": "Report"}
    world.apply(document)
    world.wait("barn", "SettingsInSync")
    writes = len(world.device_log("barn", "write"))
    world.ctl("barn", "set-name", "Mallory")
    world.wait("barn", "SettingsInSync", status="False")
    assert world.device_state("barn")["deviceName"] == "Mallory"
    assert len(world.device_log("barn", "write")) == writes


def test_an_archive_is_made_on_demand(world: Any) -> None:
    document = {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "RopBackup",
        "metadata": {"name": "before-the-move", "namespace": "video"},
        "spec": {"serverRef": {"name": "home"}, "targetNames": ["disk"], "retain": "Forever"},
    }
    world.apply(document)
    world.wait("before-the-move", "Complete", reason="Stored", kind="ropbackup")
    told = world.get("ropbackup", "before-the-move")["status"]["observed"]
    stored = (world.folder / "archives" / told["archive"]).read_bytes()
    assert told["targets"] == [{"name": "disk", "state": "Stored", "sha256": hashlib.sha256(stored).hexdigest()}]
    world.ropctl("delete", "ropbackup", "before-the-move")
    assert (world.folder / "archives" / told["archive"]).exists()


def test_bad_yaml_is_refused_with_the_same_message(world: Any, camera_document: CameraDocument) -> None:
    bad = camera_document("bad", "lower-case-uid")
    refused = world.apply(bad, expect=1)
    said = refused.stdout + refused.stderr
    assert "spec.uid" in said
    validated = world.ropctl("validate", "-f", "-", stdin=json.dumps(bad), expect=1)
    rule = "16 characters"
    assert rule in said
    assert rule in validated.stdout + validated.stderr
    assert world.get("camera", "bad") is None


def test_a_written_setting_of_a_sleeping_camera_costs_one_wake(
    world: Any, camera_document: CameraDocument, poll: Poll
) -> None:
    world.camera("shed", "E2E0SHED00000001", "--battery")
    document = camera_document("shed", "E2E0SHED00000001")
    world.apply(document)
    world.wait("shed", "Ready")
    assert world.device_log("shed", "woken") == []
    document["spec"]["displayName"] = "Shed"
    document["spec"]["settings"] = {"pir": {"enabled": True, "sensitivity": 33, "reduceMistakes": False}}
    planned = world.ropctl("plan", "-f", "-", stdin=json.dumps(document), expect=2).stdout
    assert "1 wake" in planned
    world.apply(document)
    poll("the name is on the device", lambda: world.device_state("shed")["deviceName"] == "Shed")
    world.wait("shed", "SettingsInSync")
    assert len(world.device_log("shed", "woken")) == 1
    assert world.ropctl("plan", "-f", "-", stdin=json.dumps(document), expect=0)


@pytest.mark.parametrize("seed", [1, 2])
def test_everything_converges_after_kills(
    world: Any, camera_document: CameraDocument, poll: Poll, seed: int
) -> None:
    dice = random.Random(seed)
    name, uid = f"killed-{seed}", f"E2E0KILLED00000{seed}"
    world.camera(name, uid)
    world.apply(camera_document(name, uid, displayName="Before"))
    victims = ["engine", "server", "camera"]
    dice.shuffle(victims)
    for victim in victims:
        # A random moment of the work, without waiting for a time: after a random number of looks at the status.
        for _ in range(dice.randrange(4)):
            world.get("camera", name)
        if victim == "engine":
            world.restart_engine()
        elif victim == "server":
            world.kill_server()
        else:
            world.cameras[name].kill()
            world.cameras[name].start()
    world.wait(name, "Provisioned")
    world.wait(name, "Ready")
    before = identity_files(world, name)
    assert len(world.device_log(name, "setup")) == 1

    world.kill_server()
    world.cameras[name].kill()
    world.cameras[name].start()
    world.restart_engine()
    world.apply(camera_document(name, uid, displayName="After"))
    poll("the name is on the device", lambda: world.device_state(name)["deviceName"] == "After")
    world.wait(name, "Ready")
    assert identity_files(world, name) == before
    assert len(world.device_log(name, "setup")) == 1


def opens(world: Any, identity: Path, port: str) -> bool:
    """Whether the camera's certificate gets an answer on a mutual TLS port of the server."""
    context = ssl.create_default_context(cafile=str(world.server_data() / "certs" / "ECC" / "Root" / "ca.pem"))
    context.check_hostname = False
    context.load_cert_chain(identity / "cert.pem", identity / "key.pem")
    try:
        with (
            socket.create_connection(("127.0.0.1", world.ports[port]), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as tls,
        ):
            body = json.dumps({"uid": "E2E0GONE00000001"}).encode()
            tls.sendall(
                b"POST /v1.0/devices/registration HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
                % (len(body), body)
            )
            return b"accesskey" in tls.recv(65536)
    except (OSError, ssl.SSLError):
        return False


def test_a_deleted_camera_is_gone_and_its_certificate_opens_nothing(
    world: Any, camera_document: CameraDocument, poll: Poll
) -> None:
    camera = world.camera("gone", "E2E0GONE00000001")
    world.apply(camera_document("gone", "E2E0GONE00000001"))
    world.wait("gone", "Ready")
    identity = world.folder / "gone" / "identity"
    assert opens(world, identity, "registerHttps")

    world.ropctl("delete", "camera", "gone")
    poll("the camera is gone", lambda: world.get("camera", "gone") is None)
    assert not opens(world, identity, "registerHttps")
    devices = f"http://127.0.0.1:{world.ports['clientHttp']}/v1.0/devices"
    with urllib.request.urlopen(devices) as answer:
        assert b"E2E0GONE00000001" not in answer.read()
    # The camera itself, restarted, does not get in any more either.
    camera.kill()
    before = len(world.device_log("gone", "online"))
    camera.start()
    poll("the camera was refused", lambda: len(world.device_log("gone", "refused")) > 0)
    assert len(world.device_log("gone", "online")) == before
