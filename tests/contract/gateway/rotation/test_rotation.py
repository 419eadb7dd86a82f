"""Certificates change under viewers, and nobody notices but who connects next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

UID = "95270000GATEWAY1"
VIEWERS, ROTATIONS = 30, 5
PICTURES = 10  # between two rotations, for each viewer
FIRST_SERIAL = 0xABC000


def play_address(one: Any, who: dict[str, str]) -> str:
    body = {"streamType": "subStream", "channel": 0}
    answer = one.call("POST", f"/v1.0/devices/{UID}/live/play-session", body, **who)
    assert answer.status == 200, answer
    address = str(answer.json()["playURL"])
    assert address.startswith(one.status()["playURLPrefix"])
    return address


def served(one: Any, port: str) -> str:
    """Serial that a new client is shown."""
    with one.connect(port) as sock:
        return str(sock.getpeercert()["serialNumber"]).lstrip("0")


async def until(what: str, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def watching(one: Any, who: dict[str, str], player: Any) -> AsyncIterator[list[Any]]:
    """Viewers, each with an address of its own, all of them seeing pictures."""
    found: list[Any] = []
    try:
        for _ in range(VIEWERS):
            address = await asyncio.to_thread(play_address, one, who)
            port, host = one.members["rtspsPort"], one.members["host"]
            found.append(await player.open(address, port, host, one.context()))
        await until("every viewer sees pictures", lambda: all(each.pictures for each in found))
        yield found
    finally:
        await asyncio.gather(*(each.close() for each in found))


async def rotate(one: Any, pairs: Any, serial: int) -> str:
    """A new pair, told to the gateway; its serial once it is served."""
    new: str = await asyncio.to_thread(pairs.renew, one.members["host"], serial)

    def there() -> bool:
        one.look()
        told = one.status()
        return told["reason"] == "Ready" and told["certificate"]["serial"] == new

    await until(f"{new} is served", there)
    return new


def test_thirty_viewers_over_five_rotations(
    gateway_of_others: Any, server_pairs: Any, joined: Callable[..., Any], basic: Any, player: Any
) -> None:
    """No connection ends, no packet and no picture is lost; every new handshake gets the new certificate."""
    one = gateway_of_others
    camera = joined(UID)
    first = one.status()["certificate"]["serial"]
    reloads = one.status()["reloads"]

    async def run() -> None:
        async with watching(one, basic(), player) as viewers:
            for turn in range(1, ROTATIONS + 1):
                new = await rotate(one, server_pairs, FIRST_SERIAL + turn)
                for port in ("httpsPort", "rtspsPort"):
                    assert await asyncio.to_thread(served, one, port) == new
                before = [each.pictures for each in viewers]
                await until(
                    "pictures go on",
                    lambda then=before: all(
                        each.pictures >= count + PICTURES or each.dropped
                        for each, count in zip(viewers, then, strict=True)
                    ),
                )
                assert [each.dropped for each in viewers] == [False] * VIEWERS
            assert {each.serial for each in viewers} == {first}, "they never connected again"
            assert sum(each.lost for each in viewers) == 0
            assert one.status()["reloads"] == reloads + ROTATIONS

    asyncio.run(run())
    assert len(camera.events("stream")) == 1, "one stream of the device for all of them"


@pytest.fixture
def gateway_of_others(gateway: Callable[..., Any], server_pairs: Any) -> Any:
    """A gateway whose pair somebody else renews."""
    server_pairs.renew("gw.example.net", FIRST_SERIAL)
    files = {"chainFile": str(server_pairs.chain), "keyFile": str(server_pairs.key)}
    one = gateway(certificate={"source": "Files", **files})
    one.trusted = server_pairs.authority
    return one


def test_a_bad_pair_keeps_the_old_one(
    gateway_of_others: Any, server_pairs: Any, poll: Callable[..., Any], basic: Any
) -> None:
    """What is wrong is told with a word, and clients notice nothing."""
    one = gateway_of_others
    first = served(one, "rtspsPort")

    def refused(reason: str) -> Callable[[], bool]:
        def told() -> bool:
            one.look()
            return bool(one.status()["reason"] == reason)

        return told

    server_pairs.renew("gw.example.net", FIRST_SERIAL + 1, key=False)
    poll("the key is of another pair", refused("KeyMismatch"))
    server_pairs.renew("other.example.net", FIRST_SERIAL + 2)
    poll("the name is another", refused("NameMismatch"))
    server_pairs.chain.write_text("no certificate")
    poll("no certificate at all", refused("ChainInvalid"))
    for port in ("httpsPort", "rtspsPort"):
        assert served(one, port) == first
    assert one.call("GET", "/v1.0/devices", **basic()).status == 200
    assert one.status()["serving"] is True
    asyncio.run(rotate(one, server_pairs, FIRST_SERIAL + 3))
