"""Identity, manager and fences, configuration, tokens and scopes, listeners, metrics, OpenAPI."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import ssl
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from openapi_spec_validator import validate

from rop_server.manage.listener import ManageListener
from rop_server.manage.openapi import document
from rop_server.manage.operations import OPERATIONS
from rop_server.manage.trust import ManagementTls

UID = "95270000000TEST1"
SECRETS = ("authCode.signKey", "deviceAuth.deviceKeys", "alarm.notificationURL")


async def test_health_and_readiness(manage: Any, control: Any) -> None:
    assert (await manage("GET", "/health")).status == 200
    ready = await manage("GET", "/ready")
    assert (ready.status, ready.body["ready"]) == (200, True)
    control.ports["signalingTLS"] = False
    ready = await manage("GET", "/ready")
    assert (ready.status, ready.body) == (
        503,
        {"ready": False, "ports": {"signalingTLS": False, "clientHttp": True}},
    )


async def test_identity(manage: Any, control: Any) -> None:
    control.file_changed = True
    control.pending_restart = ["serverHost"]
    answer = await manage("GET", "/identity")
    assert answer.body == {
        "instanceID": "instance-1",
        "host": "rop.example.net",
        "version": "0.1.0",
        "rootSHA256": "ab" * 32,
        "caHash": "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=",
        "adopted": False,
        "ports": {"signalingTLS": 61005},
        "serverCertificate": {"notAfter": "2023-11-15T22:13:20.000Z", "serial": "01"},
        "manager": {"id": None, "fence": 0},
        "configFileChanged": True,
        "pendingRestart": ["serverHost"],
        "features": [
            "settings",
            "claims",
            "events",
            "config",
            "access",
            "alarms",
            "firmware",
            "backup",
            "gateway",
        ],
    }


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nothing"), ("PATCH", "/devices"), ("GET", "/devices/x/y/z")]
)
async def test_every_answer_names_the_instance(manage: Any, method: str, path: str) -> None:
    answer = await manage(method, path)
    assert answer.status in {404, 405}
    assert answer.headers["Rop-Instance"] == "instance-1"
    assert set(answer.body["error"]) == {"symbol", "message"}


async def test_an_unforeseen_failure_tells_nothing(manage: Any, control: Any, log_lines: Any) -> None:
    control.ready = lambda: 1 / 0
    answer = await manage("GET", "/ready")
    assert (answer.status, answer.symbol) == (500, "server_internal_error")
    assert answer.headers["Rop-Instance"] == "instance-1"
    assert "ZeroDivisionError" not in json.dumps(answer.body)
    assert "ZeroDivisionError" in log_lines()


WRITES: list[tuple[str, str, Any]] = [
    ("POST", f"/devices/{UID}/settings", {"read": ["pir"]}),
    ("POST", f"/devices/{UID}/wifi/scan", None),
    ("POST", f"/devices/{UID}/wifi/test", {"ssid": "Yard", "key": "yard-key-1", "countryCode": "DE"}),
    ("PUT", f"/devices/{UID}/wifi", {"ssid": "Yard", "key": "yard-key-1", "countryCode": "DE"}),
    ("POST", f"/devices/{UID}/initialization-session", None),
    ("PUT", f"/devices/{UID}/access", {"access": "Denied"}),
    ("PUT", f"/devices/{UID}/renewal", {"seconds": 60}),
    ("PUT", "/claims", {"policy": "Open", "uids": []}),
    ("PUT", f"/claims/{UID}", None),
    ("DELETE", f"/claims/{UID}", None),
    ("DELETE", "/firmware/first.pak", None),
    ("PUT", "/upgrades/holds", {"holder": "rollout", "uids": [UID], "seconds": 60}),
    ("POST", "/rotations/DeviceKey", {"step": "Prepare", "toGeneration": 2}),
    ("PUT", "/config", {"members": {"heartBeatInterval": 30}}),
    ("POST", "/config/reload", None),
    ("PUT", "/labels", {"labels": {UID: {"area": "yard"}}}),
    ("POST", "/gateway/tokens", {"name": "wall", "verbs": ["read"], "expiresAt": "2024-01-01T00:00:00Z"}),
]


def test_every_fenced_operation_is_tried_below() -> None:
    # The others have a whole server: device/test_alarms.py, backup/test_policy.py, device/test_upgrade_orders.py,
    # contract/gateway/test_manager.py.
    elsewhere = ("/alarms/", "/backup")
    ordered = {"put_firmware", "begin_upgrade", "revoke_gateway_token", "sign_gateway_certificate"}
    fenced = {
        (o.method, o.path)
        for o in OPERATIONS
        if o.fenced and not o.path.startswith(elsewhere) and o.name not in ordered
    }
    tried = {
        (method, path.replace(UID, "{uid}").replace("first.pak", "{name}").replace("DeviceKey", "{item}"))
        for method, path, _ in WRITES
    }
    assert tried == fenced


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
async def test_writes_are_fenced(
    manage: Any, devices: Any, firmware: Any, method: str, path: str, body: Any
) -> None:
    devices.connect(UID, wired=True)
    firmware.folder.mkdir()
    (firmware.folder / "first.pak").write_bytes(b"firmware")
    assert (await manage.take("engine")).body == {"id": "engine", "fence": 1}
    manage.fence = None
    assert (await manage(method, path, body)).symbol == "fenced"
    assert (await manage(method, path, body, fence=0)).symbol == "fenced"
    manage.id = "other"
    answer = await manage(method, path, body, fence=1)
    assert (answer.status, answer.symbol) == (409, "managed_elsewhere")
    manage.id = None
    assert (await manage(method, path, body)).symbol == "managed_elsewhere"
    manage.id = "engine"
    assert (await manage(method, path, body, fence="x")).status == 422
    assert (await manage(method, path, body, fence=1)).status == 200


async def test_management_is_taken_over_only_on_purpose(manage: Any) -> None:
    await manage.take("a")
    refused = await manage.take("b")
    assert (refused.status, refused.symbol) == (409, "managed_elsewhere")
    assert (await manage.take("a")).body == {"id": "a", "fence": 2}
    assert (await manage.take("b", take_over=True)).body == {"id": "b", "fence": 3}
    assert (await manage("GET", "/manager")).body == {"id": "b", "fence": 3}
    for wrong in ({"id": ""}, {"id": "x\n"}, {}, {"id": "x", "takeOver": 1}):
        assert (await manage("PUT", "/manager", wrong)).status == 422


async def test_the_configuration_shows_no_secret(manage: Any, config: Any) -> None:
    answer = await manage("GET", "/config")
    assert answer.body["members"]["ports.signalingTLS"] == 61005
    assert answer.body["members"]["timeout.signalingExec"] == 10000
    assert answer.body["members"]["rop.clientBind"] == "127.0.0.1"
    assert set(answer.body["masked"]) == set(SECRETS)
    text = json.dumps(answer.body)
    for secret in (config.sign_key, *config.device_keys.values(), "s3cr3t"):
        assert secret not in text
    assert (await manage("GET", "/config")).body["masked"] == answer.body["masked"]


async def test_members_are_compared(manage: Any, config: Any) -> None:
    answer = await manage(
        "POST",
        "/config/compare",
        {
            "authCode.signKey": config.sign_key,
            "alarm.notificationURL": "https://other/",
            "heartBeatInterval": 20,
            "timeout.socket": None,
            "alarm.enabled": 1,
            "serverHost": "rop.example.net",
            "no.such": 5,
            "rop.clientBind": "127.0.0.1",
            "rop.management.listen": "0.0.0.0:1",
        },
    )
    assert answer.body == {
        "authCode.signKey": True,
        "alarm.notificationURL": False,
        "heartBeatInterval": True,
        "timeout.socket": True,
        "alarm.enabled": False,
        "serverHost": True,
        "no.such": False,
        "rop.clientBind": True,
        "rop.management.listen": False,
    }


async def test_members_are_written_and_told(manage: Any, book: Any) -> None:
    url = "https://hooks.example.net/n3w"
    answer = await manage("PUT", "/config", {"members": {"heartBeatInterval": 30, "alarm.notificationURL": url}})
    assert answer.body == {
        "applied": ["heartBeatInterval", "alarm.notificationURL"],
        "restart": [],
        "unchanged": [],
    }
    events = book.journal.since(1, book.journal.epoch)
    assert [(event.type, event.data["applied"]) for event in events] == [
        ("config.changed", ["heartBeatInterval", "alarm.notificationURL"])
    ]
    assert "n3w" not in events[0].body.decode()
    assert (await manage("POST", "/config/reload")).body["restart"] == ["serverHost"]


async def test_a_refused_configuration_names_field_and_rule(manage: Any) -> None:
    answer = await manage("PUT", "/config", {"members": {"heartBeatInterval": 0}})
    assert (answer.status, answer.symbol) == (422, "invalid_config")
    assert answer.body["error"]["field"] == "heartBeatInterval"
    assert answer.body["error"]["rule"] == "a whole number from 1 to 65535"
    assert (await manage("PUT", "/config", {"members": []})).body["error"]["field"] == "members"


async def test_metrics_have_bounded_labels(manage: Any, devices: Any, book: Any, clock: Any) -> None:
    devices.connect(UID)
    book.refused(UID, "signalingTLS", "Denied", clock.now)
    book.code(UID, "Issued", None, clock.now)
    answer = await manage("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for line in (
        'rop_devices{state="Online"} 1.0',
        'rop_device_refusals_total{port="signalingTLS",reason="Denied"} 1.0',
        'rop_codes_total{what="Issued"} 1.0',
        "rop_devices_connected 1.0",
    ):
        assert line in answer.body
    assert UID not in answer.body


async def test_the_openapi_document(manage: Any) -> None:
    answer = await manage("GET", "/openapi.json")
    assert answer.body == json.loads(json.dumps(document()))
    validate(answer.body)
    told = {(method.upper(), path) for path, methods in answer.body["paths"].items() for method in methods}
    assert told == {(operation.method, "/manage/v1" + operation.path) for operation in OPERATIONS}


def test_the_socket_is_for_owner_and_group(socket_path: Path) -> None:
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o660


async def test_writes_are_logged_with_the_peer(manage: Any, log_lines: Any) -> None:
    await manage("PUT", f"/claims/{UID}")
    line = next(line for line in log_lines().splitlines() if '"managed"' in line)
    assert f"pid {os.getpid()} uid {os.getuid()}" in line
    assert '"operation":"claim"' in line


async def test_a_dead_socket_is_replaced_and_removed(app: Any, tmp_path: Path) -> None:
    # Deeper than the kernel's limit for a socket path, as a data directory may be.
    path = tmp_path / ("d" * 60) / ("e" * 60) / "manage.sock"
    path.parent.mkdir(parents=True)
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(dead))
    dead.rename(path)
    listener = ManageListener(app)
    await listener.start_unix(path)
    assert stat.S_ISSOCK(path.stat().st_mode)
    await listener.stop()
    assert not path.exists()


async def test_a_stop_answers_waiting_polls(app: Any, book: Any, tmp_path: Path) -> None:
    path = tmp_path / "manage.sock"
    listener = ManageListener(app)
    await listener.start_unix(path)
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
        url = f"http://localhost/manage/v1/events?since=1&epoch={book.journal.epoch}&wait=60"

        async def poll() -> Any:
            async with session.get(url) as answer:
                return await answer.json()

        waiting = asyncio.create_task(poll())
        deadline = time.monotonic() + 5
        while not book.journal._waiting and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await listener.stop()
        assert (await waiting)["items"] == []
        assert time.monotonic() - began < 5


async def test_tcp_needs_tls_and_a_token(app: Any, book: Any, tmp_path: Path, clock: Any) -> None:
    listener = ManageListener(app)
    await listener.start_tcp("127.0.0.1", 0, ManagementTls(tmp_path / "manage", "127.0.0.1", time.time()).context)
    assert stat.S_IMODE((tmp_path / "manage" / "key.pem").stat().st_mode) == 0o600
    trust = ssl.create_default_context(cafile=str(tmp_path / "manage" / "ca.pem"))
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    base = f"https://127.0.0.1:{listener.port}/manage/v1"
    tokens = {scope: book.tokens.create(scope.lower(), scope, 0.0) for scope in ("Observe", "Control", "Admin")}
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:

            async def status(method: str, path: str, token: str | None, body: Any = None) -> int:
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                async with session.request(method, base + path, headers=headers, json=body) as answer:
                    assert answer.headers["Rop-Instance"] == "instance-1"
                    return answer.status

            assert await status("GET", "/health", None) == 200
            for token in (None, "", "rop_guess", tokens["Admin"] + "x"):
                assert await status("GET", "/devices", token) == 401
            assert await status("GET", "/devices", tokens["Observe"]) == 200
            assert await status("PUT", f"/claims/{UID}", tokens["Observe"]) == 403
            assert await status("PUT", f"/claims/{UID}", tokens["Control"]) == 200
            assert await status("PUT", "/config", tokens["Control"], {"members": {}}) == 403
            assert await status("PUT", "/config", tokens["Admin"], {"members": {}}) == 200
            book.tokens.revoke("observe")
            assert await status("GET", "/devices", tokens["Observe"]) == 401
    finally:
        await listener.stop()


DAY = 86400.0


def test_the_tcp_certificate_is_kept_while_valid(tmp_path: Path) -> None:
    folder, now = tmp_path / "manage", time.time()
    tls = ManagementTls(folder, "rop.example.net", now)
    first, trusted = (folder / "cert.pem").read_bytes(), (folder / "ca.pem").read_bytes()
    assert not tls.keep(now + 764 * DAY)
    assert (folder / "cert.pem").read_bytes() == first
    assert tls.keep(now + 766 * DAY)
    assert (folder / "cert.pem").read_bytes() != first
    assert (folder / "ca.pem").read_bytes() == trusted
    assert stat.S_IMODE((folder / "ca.key.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("lost", ["cert.pem", "key.pem"])
def test_a_tcp_certificate_cut_short_is_made_again(tmp_path: Path, lost: str) -> None:
    folder, now = tmp_path / "manage", time.time()
    ManagementTls(folder, "rop.example.net", now)
    trusted = (folder / "ca.pem").read_bytes()
    (folder / lost).unlink()
    ManagementTls(folder, "rop.example.net", now)
    assert (folder / lost).exists()
    assert (folder / "ca.pem").read_bytes() == trusted


def test_files_of_an_administrator_are_used_until_they_end(tmp_path: Path) -> None:
    ours, theirs, now = tmp_path / "manage", tmp_path / "theirs", time.time()
    ManagementTls(ours, "rop.example.net", now)
    key, pem = _self_signed(now, days=40)
    tls = ManagementTls(theirs, "rop.example.net", now)
    (theirs / "key.pem").write_bytes(key)
    (theirs / "cert.pem").write_bytes(pem)
    assert tls.keep(now)
    assert not tls.keep(now + 39 * DAY)
    assert (theirs / "cert.pem").read_bytes() == pem
    assert tls.keep(now + 41 * DAY)


def _self_signed(now: float, days: int) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rop.example.net")])
    begins = datetime.fromtimestamp(now, UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, begins, begins + timedelta(days=days))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret, made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


async def test_the_tcp_port_presents_a_renewed_certificate_and_open_connections_go_on(
    app: Any, tmp_path: Path
) -> None:
    folder, now = tmp_path / "manage", time.time()
    tls, listener = ManagementTls(folder, "127.0.0.1", now), ManageListener(app)
    await listener.start_tcp("127.0.0.1", 0, tls.context)
    trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=trust)
        return reader, writer, writer.get_extra_info("ssl_object").getpeercert(True)

    try:
        reader, writer, before = await connect()
        (folder / "cert.pem").unlink()
        assert tls.keep(now)
        _, again, after = await connect()
        assert after != before
        writer.write(b"GET /manage/v1/health HTTP/1.1\r\nHost: server\r\n\r\n")
        assert (await asyncio.wait_for(reader.readline(), 30)).startswith(b"HTTP/1.1 200")
        writer.close()
        again.close()
    finally:
        await listener.stop()


async def test_firmware_is_listed_and_deleted(manage: Any, firmware: Any) -> None:
    assert (await manage("GET", "/firmware")).body == {"items": []}
    firmware.folder.mkdir()
    (firmware.folder / "E1 Pro v3.1.pak").write_bytes(b"abc")
    (firmware.folder / "my%20cam.paks").write_bytes(b"")
    (firmware.folder / ".hidden.pak").write_bytes(b"")
    (firmware.folder / "loop.pak").symlink_to("/etc/hostname")
    items = (await manage("GET", "/firmware")).body["items"]
    assert [(item["name"], item["size"]) for item in items] == [("E1 Pro v3.1.pak", 3), ("my%20cam.paks", 0)]
    assert items[0]["sha256"] == hashlib.sha256(b"abc").hexdigest()
    assert items[0]["modified"].endswith("Z")
    await manage.take()
    left = await manage("DELETE", "/firmware/my%2520cam.paks")
    assert [item["name"] for item in left.body["items"]] == ["E1 Pro v3.1.pak"]
    for name in ("my%2520cam.paks", "..%2Frop.json", "loop.pak", ".hidden.pak", "%00"):
        gone = await manage("DELETE", f"/firmware/{name}")
        assert (gone.status, gone.symbol) == (404, "file_not_found"), name
    assert (firmware.folder / "loop.pak").is_symlink()


async def test_firmware_is_deleted_by_the_manager_alone(manage: Any, firmware: Any) -> None:
    firmware.folder.mkdir()
    (firmware.folder / "a.pak").write_bytes(b"abc")
    assert (await manage("DELETE", "/firmware/a.pak")).status == 200
    (firmware.folder / "a.pak").write_bytes(b"abc")
    await manage.take()
    manage.id = "somebody-else"
    assert (await manage("DELETE", "/firmware/a.pak")).status == 409
    assert (firmware.folder / "a.pak").exists()
