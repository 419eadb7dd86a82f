"""Firmware: upload and upgrade sessions, with cameras that do and do not as they should.

Source: client-api 2.3 and 2.14, device-protocol 10.11; discrepancies C1.4, C1.5, C2.9, C5.3 to C5.6.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from rop_server.client import exchange
from rop_server.core.upgrades import UpgradeLimits
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.packet import Packet

UID = "95270000000TEST1"
SESSION = "{device}/upgrade-session"
SLICE = messages.SLICE_LENGTH


class Flash:
    """The upgrade side of a camera: collects slices, answers each with `status(number)`; None: silence."""

    def __init__(self, line: Any) -> None:
        self.line = line
        self.begin: messages.UpgradeBegin | None = None
        self.data = bytearray()
        self.slices = 0
        self.unanswered = 0
        self.most_unanswered = 0
        self.ordered = asyncio.Event()
        self.refuse: dict[int, int | None] = {}
        line.answers[Command.UPGRADE] = self.take
        line.answers[Command.SLEEP] = self.install

    def take(self, packet: Packet) -> None:
        if not packet.extension:
            self.begin = messages.UpgradeBegin.decode(packet.payload)
            number = 0
        else:
            assert packet.extension == messages.UPGRADE_EXTENSION
            self.slices += 1
            number = self.slices
            self.data += packet.payload
        status = self.refuse.get(number, 200)
        if status is not None:
            # Answers are held back for a turn, so that what is in flight can be counted.
            self.unanswered += 1
            self.most_unanswered = max(self.most_unanswered, self.unanswered)
            asyncio.get_running_loop().call_soon(self.answer, packet, status)

    def answer(self, packet: Packet, status: int) -> None:
        self.unanswered -= 1
        self.line.send(packet.reply(status=status))

    def install(self, packet: Packet) -> None:
        self.line.send(packet.reply())
        self.ordered.set()


async def status_of(client: Any, session: str) -> str:
    return str((await client("GET", f"{SESSION}/{session}")).document.get("status"))


async def settled(client: Any, session: str) -> str:
    async with asyncio.timeout(15):
        while (status := await status_of(client, session)) == "upgrading":
            continue
        return status


async def begin(client: Any, name: str = "E1.pak", reset: bool = False) -> str:
    answer = await client("POST", SESSION, {"upgradeFile": name, "factoryReset": reset})
    assert answer.status == 200, answer.body
    assert list(answer.document) == ["sessionId", "expiredIn"]
    assert answer.document["expiredIn"] == 3600 and len(answer.document["sessionId"]) == 32
    return str(answer.document["sessionId"])


async def test_upload(client: Any, server: Any) -> None:
    data = os.urandom(3_000_000)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 70_000):
            yield data[start : start + 70_000]

    assert (await client("POST", "/v1.0/firmware/a%20b.pak", data=data)).body == b'{"message":"ok"}'
    assert (await client("POST", "/v1.0/firmware/chunked.bin", data=pieces())).body == b'{"message":"ok"}'
    assert (await client("POST", "/v1.0/firmware/empty.pak")).status == 200
    listed = {each.name: (each.size, each.sha256) for each in server.firmware.files()}
    whole = (len(data), hashlib.sha256(data).hexdigest())
    assert listed == {"a%20b.pak": whole, "chunked.bin": whole, "empty.pak": (0, hashlib.sha256(b"").hexdigest())}
    again = await client("POST", "/v1.0/firmware/a%20b.pak", data=b"other")
    assert (again.status, again.symbol) == (400, "duplicate_firmware")
    assert again.document["error"]["message"] == "the fireware is the same as before."
    for name in ("..", ".a.pak", "a%2Fb.pak\\", "a" * 255 + "\u00e4"):
        refused = await client("POST", f"/v1.0/firmware/{name}", data=b"x")
        assert refused.status == 400, name
    assert (await client("POST", "/v1.0/firmware/", data=b"x")).status == 404
    assert len(list(server.firmware.folder.iterdir())) == 3


async def test_an_upload_that_breaks_off_leaves_nothing(
    server: Any, directory: Any, until: Any, client: Any
) -> None:
    folder = server.firmware.folder
    _, writer = await asyncio.open_connection("127.0.0.1", directory.numbers["clientHttp"])
    writer.write(
        b"POST /v1.0/firmware/half.pak HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + bytes(1_500_000)
    )
    await writer.drain()
    await until(lambda: any(each.stat().st_size > 500_000 for each in folder.iterdir()))
    writer.transport.abort()
    await until(lambda: not list(folder.iterdir()))
    assert (await client("POST", "/v1.0/firmware/half.pak", data=b"whole")).status == 200


async def test_an_upload_that_drips_is_refused(
    server: Any, directory: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "BODY_S", 0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", directory.numbers["clientHttp"])
    writer.write(b"POST /v1.0/firmware/slow.pak HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n")
    answered = asyncio.create_task(reader.readuntil(b'"invalid_parameter"'))
    async with asyncio.timeout(20):
        while not answered.done():
            writer.write(b"a")
            await asyncio.wait([answered], timeout=0.05)
    assert (await answered).startswith(b"HTTP/1.1 400")
    await until(lambda: not list(server.firmware.folder.iterdir()))
    writer.close()


@pytest.mark.parametrize(
    "size", [10 * SLICE, 40 * SLICE + 1], ids=["a multiple of the slice", "more than a batch"]
)
async def test_a_camera_is_upgraded(
    client: Any, line: Any, camera: Any, server: Any, told: Any, size: int
) -> None:
    data = os.urandom(size)
    assert (await client("POST", "/v1.0/firmware/E1.pak", data=data)).status == 200
    flash = Flash(line)
    session = await begin(client, reset=True)
    assert (
        await client("POST", SESSION, {"upgradeFile": "E1.pak", "factoryReset": True})
    ).symbol == "duplicate_upgrade"
    await asyncio.wait_for(flash.ordered.wait(), 15)
    assert flash.begin == messages.UpgradeBegin("E1.pak", size, True)
    assert bytes(flash.data) == data
    assert flash.slices == -(-size // SLICE)
    assert flash.most_unanswered <= messages.SLICES_IN_FLIGHT
    numbers = [packet.request_id for packet in told.asked(line, Command.UPGRADE)]
    assert len(set(numbers)) == len(numbers)
    assert await status_of(client, session) == "upgrading"
    await line.close()
    again = await camera.signaling(firmware="v1")
    assert await status_of(client, session) == "upgrading", "the same version proves nothing"
    await again.close()
    await camera.signaling(firmware="v2")
    assert await settled(client, session) == "upgrade_success"
    assert server.upgrades.running == 0
    other = await client("GET", f"/v1.0/devices/95270000000TEST2/upgrade-session/{session}")
    assert (other.status, other.symbol) == (404, "session_not_found")


async def test_refusals_of_the_camera(client: Any, line: Any, server: Any) -> None:
    await client("POST", "/v1.0/firmware/E1.pak", data=os.urandom(70 * SLICE))
    for number, status, word in (
        (0, 401, "same_version"),
        (0, 402, "file_check_failed"),
        (1, 403, "failed"),
        (17, 404, "out_of_memory"),
        (30, 407, "focus_error"),
        (70, 408, "low_battery"),
        (31, 500, "unknown_error"),
    ):
        flash = Flash(line)
        flash.refuse[number] = status
        assert await settled(client, await begin(client)) == word
        assert not flash.ordered.is_set()
        assert server.upgrades.running == 0
        assert server.hub.pending.count(server.hub.registry.entry(UID).signaling) == 0, (
            "nothing is waited for any more"
        )
    assert not line.ended.is_set()


async def test_a_camera_that_goes_away_half_way(client: Any, line: Any, camera: Any, server: Any) -> None:
    await client("POST", "/v1.0/firmware/E1.pak", data=os.urandom(20 * SLICE))
    flash = Flash(line)
    flash.refuse = dict.fromkeys(range(5, 31))
    session = await begin(client)
    async with asyncio.timeout(10):
        while flash.slices < 20:
            await asyncio.sleep(0)
    await line.close()
    assert await settled(client, session) == "unknown_error"
    again = await camera.signaling(firmware="v1")
    assert await status_of(client, session) == "unknown_error"
    # The version is the truth: it did install what it had been told to.
    await again.close()
    await camera.signaling(firmware="v2")
    assert await status_of(client, session) == "upgrade_success"
    assert server.upgrades.counts == {"unknown_error": 1, "upgrade_success": 1}


async def test_silence_and_lateness(client: Any, line: Any, camera: Any, server: Any) -> None:
    await server.control.apply({"timeout.upgradeSignaling": 300})
    await client("POST", "/v1.0/firmware/E1.pak", data=os.urandom(3 * SLICE))
    flash = Flash(line)
    flash.refuse[2] = None
    assert await settled(client, await begin(client)) == "unknown_error"
    # An order to install that is answered, then nothing: the verdict comes by itself and may be revised.
    server.upgrades._limits = lambda: UpgradeLimits(slice_timeout=0.3, verdict=0.3)
    flash = Flash(line)
    session = await begin(client)
    assert await settled(client, session) == "unknown_error"
    assert flash.ordered.is_set() and server.upgrades.running == 0
    await line.close()
    await camera.signaling(firmware="v9")
    assert await status_of(client, session) == "upgrade_success"


async def test_checks_in_their_order(client: Any, server: Any, line: Any, until: Any) -> None:
    async def symbol(name: Any, reset: Any = False, device: str = UID) -> str:
        body = {"upgradeFile": name, "factoryReset": reset}
        return str((await client("POST", f"/v1.0/devices/{device}/upgrade-session", body)).symbol)

    assert await symbol("E1.pak", "true") == "invalid_parameter"
    assert await symbol("") == "invalid_parameter"
    assert await symbol("a" * 256) == "invalid_parameter"
    assert await symbol("E1.pak", device="x") == "invalid_parameter"
    for name in ("E1.bin", "E1.PAK", "../x.pak", "a/b.paks", ".hidden.pak", "paksx"):
        assert await symbol(name) == "invalid_filename", name
    assert await symbol("nopak") == "file_not_found"
    assert await symbol("E1.paks", device="95270000000TEST9") == "file_not_found"
    await client("POST", "/v1.0/firmware/E1.pak", data=b"x")
    assert await symbol("E1.pak", device="95270000000TEST9") == "device_offline"
    flash = Flash(line)
    flash.refuse[0] = None
    await begin(client)
    assert await symbol("absent.pak") == "duplicate_upgrade"
    await server.control.apply({"upgrade.maxSession": 10})
    limits = server.upgrades._limits()
    assert limits.sessions == 10
    server.upgrades._limits = lambda: replace(limits, sessions=1)
    assert await symbol("absent.pak") == "up_to_upgrade_session_limit"
    assert await symbol("absent.bin") == "invalid_filename"
    for session in ("a", "a" * 32, "a" * 256):
        answer = await client("GET", f"{SESSION}/{session}")
        assert answer.symbol == ("invalid_parameter" if len(session) > 255 else "session_not_found")


async def test_sessions_expire(client: Any, server: Any, line: Any) -> None:
    await client("POST", "/v1.0/firmware/E1.pak", data=b"x")
    server.upgrades._limits = lambda: UpgradeLimits(life=0.2)
    flash = Flash(line)
    flash.refuse[0] = None
    session = await begin(client)
    async with asyncio.timeout(5):
        while await status_of(client, session) == "upgrading":
            continue
    assert (await client("GET", f"{SESSION}/{session}")).symbol == "session_not_found"
    assert (await client("POST", SESSION, {"upgradeFile": "E1.pak", "factoryReset": False})).status == 200


async def test_a_battery_camera_is_woken_and_judged_on_its_keep_alive(
    client: Any, camera: Any, server: Any, until: Any, told: Any
) -> None:
    await client("POST", "/v1.0/firmware/E1.pak", data=os.urandom(SLICE + 5))
    keep = await camera.keep_alive()
    keep.answers = {Command.WAKE_UP: messages.EMPTY_DOCUMENT}
    await until(lambda: server.devices.link(UID) is not None)
    session = await begin(client)
    await until(lambda: told.asked(keep, Command.WAKE_UP))
    line = await camera.signaling(hello=False)
    flash = Flash(line)
    await line.handshake(UID, family="battery", model="Argus", firmware="v1")
    await asyncio.wait_for(flash.ordered.wait(), 10)
    await line.close()
    await keep.close()
    assert await status_of(client, session) == "upgrading"
    await camera.keep_alive(firmware="v2")
    assert await settled(client, session) == "upgrade_success"
