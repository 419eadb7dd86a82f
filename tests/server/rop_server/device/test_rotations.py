"""Rotations of a whole server with a camera that lives through them, ordered over the management interface."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rop_server.app import running
from rop_server.rotation.item import Item, Order, Step
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.packet import Packet
from rop_wire.provisioning import CertificateReply, Refusal

UID = "95270000000TEST1"
Take = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture
async def take(server: Any, manage: Any) -> Take:
    """Order one step of an item."""
    _, manager = await manage("PUT", "/manager", {"id": "engine"})

    async def order(item: str, step: str, generation: int = 2, **more: Any) -> tuple[int, Any]:
        body = {"step": step, "toGeneration": generation, **more}
        told: tuple[int, Any] = await manage("POST", f"/rotations/{item}", body, fence=str(manager["fence"]))
        return told

    return order


@pytest.fixture
def approve(take: Take, manage: Any) -> Any:
    """Approve a renewal."""

    async def call(uid: str, seconds: float) -> tuple[int, Any]:
        told: tuple[int, Any] = await manage("PUT", f"/devices/{uid}/renewal", {"seconds": seconds}, fence="1")
        return told

    return call


def config(directory: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((directory.path / "config.json").read_text())
    return told


async def test_codes_by_the_old_sign_key_renew_until_it_is_retired(
    camera: Any, directory: Any, take: Take, server: Any
) -> None:
    before, old_code = config(directory)["authCode"]["signKey"], camera.certificate.code
    status, told = await take("SignKey", "Prepare")
    assert (status, told["phase"], told["target"]) == (200, "Prepared", 2)
    assert config(directory)["authCode"]["signKey"] == before
    status, told = await take("SignKey", "Roll")
    assert (status, told["phase"], told["done"], told["total"]) == (200, "Rolling", 0, 1)
    assert told["detail"]["holdersNamed"] == [UID]
    assert config(directory)["authCode"]["signKey"] != before
    status, told = await take("SignKey", "Retire")
    assert (status, told["error"]["symbol"]) == (409, "still_needed")
    assert isinstance(await camera.certify(old_code), CertificateReply)
    assert camera.certificate.code != old_code
    status, told = await take("SignKey", "Retire")
    assert (status, told["phase"], told["generation"]) == (200, "Idle", 2)
    assert isinstance(await camera.certify(camera.certificate.code), CertificateReply)
    refused = await camera.certify(old_code)
    assert isinstance(refused, Refusal) and refused.symbol == "signature_not_matched"
    assert (await take("SignKey", "Retire"))[1] == (await take("SignKey", "Prepare"))[1]
    types = [event.type for event in server.book.journal.since(1, server.book.journal.epoch)]
    assert types.count("rotation.step") == 3


async def test_what_is_acknowledged_is_given_up(camera: Any, take: Take) -> None:
    await take("SignKey", "Prepare")
    await take("SignKey", "Roll")
    assert (await take("SignKey", "Retire", acknowledged="SignKey:7"))[0] == 409
    assert (await take("SignKey", "Retire", acknowledged="SignKey:1"))[1]["generation"] == 2


async def test_a_camera_that_was_away_renews_once_when_approved(camera: Any, take: Take, approve: Any) -> None:
    old_code = camera.certificate.code
    assert (await approve(UID, 3600))[0] == 200
    for step in ("Prepare", "Roll", "Retire"):
        await take("SignKey", step, acknowledged="SignKey:1")
    assert isinstance(await camera.certify("e30=.AAAA"), Refusal), "any other code does not use it up"
    assert isinstance(await camera.certify(old_code), CertificateReply)
    assert isinstance(await camera.certify(camera.certificate.code), CertificateReply)
    assert isinstance(await camera.certify(old_code), Refusal), "once"


async def test_approvals_end_and_denied_cameras_get_none(
    camera: Any, take: Take, approve: Any, server: Any
) -> None:
    for step in ("Prepare", "Roll", "Retire"):
        await take("SignKey", step, acknowledged="SignKey:1")
    server.book.approve_renewal(UID, time.time() - 1)
    assert isinstance(await camera.certify(camera.certificate.code), Refusal)
    assert (await approve("95270000000OTHER", 60))[0] == 404
    assert (await approve(UID, 0))[1]["error"]["field"] == "seconds"
    assert (await approve(UID, 604801))[0] == 422
    server.book.set_access(UID, "Denied")
    assert (await approve(UID, 60))[1]["error"]["symbol"] == "denied"


async def test_the_authority_and_the_census_are_told(camera: Any, manage: Any, server: Any) -> None:
    status, told = await manage("GET", "/pki")
    assert status == 200
    assert told["rootPEM"] == server.site.root_pem.decode()
    assert told["root"]["sha256"] == server.site.authority.root_fingerprint
    assert told["root"]["keyPresent"] is True
    census = told["census"]
    assert census["byRoot"] == [{"sha256": told["root"]["sha256"], "devices": 1}]
    assert census["byIssuer"] == [{"keyID": told["intermediate"]["keyID"], "devices": 1}]
    assert census["byDeviceKey"] == [{"key": "unknown", "devices": 1}]
    assert (census["devices"], census["withoutCertificate"], census["expired"]["devices"]) == (1, 0, 0)
    await camera.keep_alive()
    _, told = await manage("GET", "/pki")
    assert told["census"]["byDeviceKey"] == [{"key": "current", "devices": 1}]
    assert "PRIVATE" not in json.dumps(told)


async def test_an_aborted_sign_key_keeps_cameras_that_have_it(camera: Any, directory: Any, take: Take) -> None:
    before, old_code = config(directory)["authCode"]["signKey"], camera.certificate.code
    await take("SignKey", "Prepare")
    await take("SignKey", "Roll")
    await camera.certify(old_code)
    newer_code = camera.certificate.code
    status, told = await take("SignKey", "Abort")
    assert (status, told["phase"], told["generation"], told["target"]) == (200, "Idle", 1, None)
    assert config(directory)["authCode"]["signKey"] == before
    assert isinstance(await camera.certify(newer_code), CertificateReply)
    assert camera.certificate.code == old_code
    assert (await take("SignKey", "Prepare"))[1]["phase"] == "Prepared"


async def test_a_device_key_moves_connected_devices_and_knows_latecomers(
    camera: Any, directory: Any, take: Take, until: Any, server: Any
) -> None:
    line, old = await camera.keep_alive(), camera.keys
    before = config(directory)["deviceAuth"]
    assert (await take("DeviceKey", "Prepare"))[1]["phase"] == "Prepared"
    assert config(directory)["deviceAuth"] == before
    status, told = await take("DeviceKey", "Roll", devicesPerMinute=600)
    assert (status, told["phase"], told["done"], told["total"]) == (200, "Rolling", 0, 1)
    assert before["deviceKeys"].items() < config(directory)["deviceAuth"]["deviceKeys"].items()
    assert (await take("DeviceKey", "Retire"))[1]["error"]["symbol"] == "still_needed"
    line.send(Packet(0, Command.HEARTBEAT, 77, 200, messages.Heartbeat(None).encode()))
    await until(line.ended.is_set)
    await camera.register()
    assert camera.keys.access_key != old.access_key
    again = await camera.keep_alive()
    assert (await take("DeviceKey", "Roll"))[1]["done"] == 1
    assert (await take("DeviceKey", "Retire"))[1]["generation"] == 2
    now = config(directory)["deviceAuth"]
    assert list(now["deviceKeys"]) == [now["currentKeyIndex"]] != [before["currentKeyIndex"]]
    late = await camera.keep_alive(hello=False, keys=(old.access_key, old.secret_access_key))
    assert late.channel.status == 400, "it is told to register again, not left without an answer"
    assert not again.ended.is_set()


async def test_an_aborted_device_key_brings_devices_back(camera: Any, directory: Any, take: Take) -> None:
    before = config(directory)["deviceAuth"]
    await take("DeviceKey", "Prepare")
    await take("DeviceKey", "Roll")
    await camera.register()
    newer = camera.keys
    assert (await take("DeviceKey", "Abort"))[1]["generation"] == 1
    assert config(directory)["deviceAuth"] == before
    late = await camera.keep_alive(hello=False, keys=(newer.access_key, newer.secret_access_key))
    assert late.channel.status == 400


async def test_a_server_certificate_is_replaced_while_connections_go_on(
    camera: Any, take: Take, manage: Any
) -> None:
    line = await camera.signaling()
    old = presented(line)
    status, told = await take("ServerCertificate", "Prepare")
    assert (status, told["phase"], told["total"]) == (200, "Prepared", 0)
    assert presented(await camera.signaling(hello=False)) == old
    await take("ServerCertificate", "Roll")
    rolled = presented(await camera.signaling(hello=False))
    assert rolled != old
    assert (await line.ask(Command.HEARTBEAT)).status == 200
    await take("ServerCertificate", "Abort")
    assert presented(await camera.signaling(hello=False)) == old
    for step in ("Prepare", "Roll", "Retire"):
        status, told = await take("ServerCertificate", step)
    assert (status, told["generation"], told["target"]) == (200, 2, None)
    assert told["detail"]["serial"] in str((await manage("GET", "/identity"))[1])
    assert presented(await camera.signaling(hello=False)) not in (old, rolled)
    assert (await line.ask(Command.HEARTBEAT)).status == 200


async def test_a_server_certificate_of_another_time_is_not_used(take: Take, server: Any) -> None:
    await take("ServerCertificate", "Prepare")
    item = server.rotations[Item.SERVER_CERTIFICATE]
    item._clock = lambda: time.time() + 91 * 86400
    status, told = await take("ServerCertificate", "Roll")
    assert (status, told["error"]["symbol"]) == (409, "wrong_phase")
    assert "abort" in told["error"]["message"]


def presented(link: Any) -> bytes:
    der: bytes = link.writer.get_extra_info("ssl_object").getpeercert(True)
    return der


def strict(directory: Any, root: Path, port: str) -> str:
    """What OpenSSL's own client says of a port, in strict mode, knowing the root alone."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{directory.numbers[port]}", "-CAfile", str(root)]
    command += ["-x509_strict", "-verify_return_error", "-verify_ip", "127.0.0.1", "-showcerts"]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=20, check=False)
    assert "Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr
    return done.stdout


async def test_both_l2_cas_are_accepted_until_nobody_holds_the_old_one(
    camera: Any, directory: Any, take: Take, server: Any, tmp_path: Path
) -> None:
    root = directory.path / "certs/ECC/Root/ca.pem"
    line, old, old_context = await camera.signaling(), server.site.authority.issuer_key_id, camera.context
    status, told = await take("Intermediate", "Prepare")
    assert (status, told["phase"], told["detail"]["keyID"]) == (200, "Prepared", old)
    await asyncio.to_thread(strict, directory, root, "getCAHttps")
    status, told = await take("Intermediate", "Roll")
    assert (status, told["phase"], told["done"], told["total"]) == (200, "Rolling", 0, 1)
    new = told["detail"]["keyID"]
    assert new != old
    assert "CA ECC E1-2" in await asyncio.to_thread(strict, directory, root, "getCAHttps")
    assert (await line.ask(Command.HEARTBEAT)).status == 200
    again = await camera.signaling()
    assert (await again.ask(Command.HEARTBEAT)).status == 200, "its certificate is of the old L2 CA"
    status, told = await take("Intermediate", "Observe")
    assert (told["phase"], told["done"], told["total"]) == ("Observing", 0, 1)
    assert (await take("Intermediate", "Retire"))[1]["error"]["symbol"] == "still_needed"
    assert isinstance(await camera.certify(camera.certificate.code), CertificateReply)
    assert server.book.record(UID).certificate.issuer == new
    renewed = await camera.signaling()
    status, told = await take("Intermediate", "Retire")
    assert (status, told["generation"], told["phase"]) == (200, 2, "Idle")
    assert (await renewed.ask(Command.HEARTBEAT)).status == 200
    camera.context = old_context
    refused = await camera.signaling(hello=False)
    await asyncio.wait_for(refused.ended.wait(), 20)
    assert {each.name for each in (directory.path / "certs/ECC").iterdir()} == {"Root", "E1", f"E1-{old[:16]}"}


async def test_an_aborted_l2_ca_leaves_its_cameras_connected(camera: Any, take: Take, server: Any) -> None:
    old = server.site.authority.issuer_key_id
    await take("Intermediate", "Prepare")
    await take("Intermediate", "Roll")
    await camera.certify(camera.certificate.code)
    assert (await take("Intermediate", "Abort"))[1]["generation"] == 1
    assert server.site.authority.issuer_key_id == old
    line = await camera.signaling()
    assert (await line.ask(Command.HEARTBEAT)).status == 200
    for step in ("Prepare", "Roll", "Observe"):
        status, _ = await take("Intermediate", step)
        assert status == 200
    status, told = await take("Intermediate", "Retire", acknowledged="Intermediate:1")
    assert (status, told["generation"]) == (200, 2)
    await asyncio.wait_for(line.ended.wait(), 20)


async def test_a_sealed_root_is_needed_to_prepare_only(take: Take, directory: Any, tmp_path: Path) -> None:
    place, kept = directory.path / "certs/ECC/Root/key.pem", tmp_path / "root.key.pem"
    place.rename(kept)
    status, told = await take("Intermediate", "Prepare")
    assert (status, told["error"]["symbol"]) == (409, "root_sealed")
    kept.rename(place)
    assert (await take("Intermediate", "Prepare"))[1]["phase"] == "Prepared"
    place.rename(kept)
    assert (await take("Intermediate", "Roll"))[1]["phase"] == "Rolling"


async def test_what_cannot_be_carried_out_changes_nothing(take: Take, directory: Any, server: Any) -> None:
    await take("SignKey", "Prepare")
    kept = (directory.path / "config.json").read_bytes()
    (directory.path / "config.json").write_text("{")
    status, told = await take("SignKey", "Roll")
    assert (status, told["error"]["symbol"]) == (409, "invalid_config")
    assert server.rotations[Item.SIGN_KEY].state().phase == "Prepared"
    (directory.path / "config.json").write_bytes(kept)
    assert (await take("SignKey", "Roll"))[1]["phase"] == "Rolling"


async def test_a_retired_l2_ca_stays_refused_after_a_restart(directory: Any) -> None:
    directory.configure()
    async with running(directory.path, "127.0.0.1") as server:
        old = server.site.authority.issuer_key_id
        for step in (Step.PREPARE, Step.ROLL, Step.OBSERVE, Step.RETIRE):
            await server.rotations[Item.INTERMEDIATE].take(Order(step, 2))
        new = server.site.authority.issuer_key_id
    async with running(directory.path, "127.0.0.1") as server:
        assert server.site.authority.issuer_key_id == new != old
        assert server.book.admit(UID, "1", old, None, 0.0) == "IssuerRetired"
        assert server.book.admit(UID, "1", new, None, 0.0) is None


async def test_a_pace_is_kept_over_a_restart(directory: Any) -> None:
    directory.configure()
    async with running(directory.path, "127.0.0.1") as server:
        item = server.rotations[Item.DEVICE_KEY]
        await item.take(Order(Step.PREPARE, 2))
        await item.take(Order(Step.ROLL, 2, devices_per_minute=60))
    async with running(directory.path, "127.0.0.1") as server:
        assert server.hub.key_turns._rate == 1.0
        assert server.rotations[Item.DEVICE_KEY].state().phase == "Rolling"
