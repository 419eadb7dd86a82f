"""Firmware and upgrades by the management interface: hashes decide, and one master a camera."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import Any

import pytest_asyncio

from rop_wire.commands import Command

UID = "95270000000TEST1"
OTHER = "95270000000TEST2"
SESSION = f"/v1.0/devices/{UID}/upgrade-session"
DATA = os.urandom(200_000)
HASH = hashlib.sha256(DATA).hexdigest()


@pytest_asyncio.fixture
async def order(server: Any, manage: Any) -> Any:
    """Calls of the recorded manager."""
    await manage("PUT", "/manager", {"id": "engine"})

    async def call(method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        status, answer = await manage(method, path, body, fence="1", **query)
        return status, answer

    return call


def symbol(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["symbol"]


async def test_a_file_is_stored_with_its_hash_or_not_at_all(order: Any, server: Any) -> None:
    wrong = await order("PUT", "/firmware/a.pak", DATA, sha256="0" * 64)
    assert symbol(wrong) == (422, "hash_mismatch")
    assert list(server.firmware.folder.iterdir()) == []
    assert symbol(await order("PUT", "/firmware/a.pak", DATA, sha256="x"))[0] == 422
    assert symbol(await order("PUT", "/firmware/a.pak", DATA))[0] == 422
    for _ in range(2):
        status, listed = await order("PUT", "/firmware/a.pak", DATA, sha256=HASH)
        assert status == 200 and [(each["name"], each["sha256"]) for each in listed["items"]] == [("a.pak", HASH)]
    other = hashlib.sha256(b"other").hexdigest()
    assert symbol(await order("PUT", "/firmware/a.pak", b"other", sha256=other)) == (409, "duplicate_firmware")
    assert (server.firmware.folder / "a.pak").read_bytes() == DATA


async def test_only_the_manager_puts_files_and_begins_upgrades(server: Any, manage: Any) -> None:
    await manage("PUT", "/manager", {"id": "engine"})
    assert symbol(await manage("PUT", "/firmware/a.pak", DATA, sha256=HASH))[0] == 409
    body = {"file": "a.pak", "sha256": HASH}
    assert symbol(await manage("POST", f"/devices/{UID}/upgrade", body))[0] == 409
    assert symbol(await manage("PUT", "/upgrades/holds", {"holder": "r", "uids": [], "seconds": 1}))[0] == 409
    assert not server.firmware.folder.exists() or list(server.firmware.folder.iterdir()) == []


async def test_an_upgrade_and_what_became_of_it(order: Any, manage: Any, camera: Any) -> None:
    await order("PUT", "/firmware/a.pak", DATA, sha256=HASH)
    body = {"file": "a.pak", "sha256": HASH, "holder": "one"}
    assert symbol(await order("POST", f"/devices/{OTHER}/upgrade", body)) == (404, "device_offline")
    line = await camera.signaling(firmware="v1")
    ordered = asyncio.Event()

    def install(packet: Any) -> None:
        line.send(packet.reply())
        ordered.set()

    line.answers[Command.UPGRADE] = lambda packet: line.send(packet.reply())
    line.answers[Command.SLEEP] = install
    wrong = await order("POST", f"/devices/{UID}/upgrade", {**body, "sha256": "0" * 64})
    assert symbol(wrong) == (400, "invalid_parameter"), "a file that was changed by hand is not installed"
    status, begun = await order("POST", f"/devices/{UID}/upgrade", body)
    assert (status, begun["status"], begun["holder"]) == (200, "upgrading", "one")
    assert symbol(await order("POST", f"/devices/{UID}/upgrade", body)) == (400, "duplicate_upgrade")

    await asyncio.wait_for(ordered.wait(), 20)
    position = (await manage("GET", "/devices"))[1]
    await line.close()
    await camera.signaling(firmware="v2")
    while (told := (await manage("GET", "/upgrades"))[1]["items"][0])["status"] == "upgrading":
        await asyncio.sleep(0)
    assert (told["status"], told["before"], told["session"]) == ("upgrade_success", "v1", begun["session"])
    assert told["endedAt"] is not None
    _, events = await manage("GET", "/events", since=str(position["next"]), epoch=position["epoch"])
    (settled,) = [each for each in events["items"] if each["type"] == "upgrade.settled"]
    assert settled["data"]["status"] == "upgrade_success"


async def test_a_held_camera_is_upgraded_by_its_holder_alone(order: Any, client: Any, line: Any) -> None:
    await order("PUT", "/firmware/a.pak", DATA, sha256=HASH)
    line.answers[Command.UPGRADE] = lambda packet: None
    status, listed = await order("PUT", "/upgrades/holds", {"holder": "one", "uids": [UID], "seconds": 60})
    assert (status, listed["holds"]) == (200, {UID: "one"})
    _, listed = await order("PUT", "/upgrades/holds", {"holder": "two", "uids": [UID, OTHER], "seconds": 60})
    assert listed["holds"] == {UID: "one", OTHER: "two"}, "the first one keeps it"
    asked = await client("POST", SESSION, {"upgradeFile": "a.pak", "factoryReset": False})
    assert asked.symbol == "duplicate_upgrade"
    body = {"file": "a.pak", "sha256": HASH}
    refused = await order("POST", f"/devices/{UID}/upgrade", {**body, "holder": "two"})
    assert symbol(refused) == (400, "duplicate_upgrade")
    await order("PUT", "/upgrades/holds", {"holder": "one", "uids": [], "seconds": 60})
    status, _ = await order("POST", f"/devices/{UID}/upgrade", {**body, "holder": "one"})
    assert status == 200


async def test_refused_parameters_name_their_field(order: Any) -> None:
    for path, body, field in (
        ("/upgrades/holds", {"holder": "", "uids": [], "seconds": 60}, "holder"),
        ("/upgrades/holds", {"holder": "a", "uids": ["x"], "seconds": 60}, "uids[0]"),
        ("/upgrades/holds", {"holder": "a", "uids": [], "seconds": 0}, "seconds"),
    ):
        status, answer = await order("PUT", path, body)
        assert (status, answer["error"]["field"]) == (422, field)
    for body, field in (
        ({"sha256": HASH}, "file"),
        ({"file": "a.pak", "sha256": HASH.upper()}, "sha256"),
        ({"file": "a.pak", "sha256": HASH, "factoryReset": 1}, "factoryReset"),
        ({"file": "a.pak", "sha256": HASH, "more": 1}, "more"),
    ):
        status, answer = await order("POST", f"/devices/{UID}/upgrade", body)
        assert (status, answer["error"]["field"]) == (422, field)
