"""The two play-session calls of 61009 on real cameras."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from rop_server.client.app import build_client_app
from rop_server.client.listener import ClientListener
from rop_server.client.play import PlayCalls
from rop_wire.commands import Command

UID = "95270000000TEST1"
OTHER = "95270000000TEST2"
Post = Callable[..., Any]


@pytest_asyncio.fixture
async def post(place: Any) -> AsyncIterator[Post]:
    """`await post(path, document)`: status and JSON."""
    rooms = [PlayCalls(place.sessions).calls()]
    app = build_client_app(place.site.devices, lambda: place.config, lambda: "hash", more=rooms)
    listener = ClientListener(app)
    await listener.start(socket.create_server(("127.0.0.1", 0)))
    async with aiohttp.ClientSession() as session:

        async def ask(path: str, document: Any) -> tuple[int, Any]:
            url = f"http://127.0.0.1:{listener.port}/v1.0/devices/{path}"
            async with session.post(url, json=document) as answer:
                return answer.status, await answer.json()

        yield ask
    await listener.stop(1)


async def test_live_address_is_shared(post: Post, film_of: Any, film_camera: Any, viewer: Any) -> None:
    camera = await film_camera(film_of())
    document = {"streamType": "mainStream", "channel": 0}
    status, told = await post(f"{UID}/live/play-session", document)
    assert (status, list(told), told["expiredIn"]) == (200, ["playURL", "expiredIn"], 30)
    assert (await post(f"{UID}/live/play-session", document))[1] == told
    assert camera.commands().count(Command.SUPPORT) == 1
    player = await viewer(told["playURL"])
    assert (await player.play()).status == 200
    assert (await post(f"{UID}/live/play-session", document))[1] == told


async def test_live_address_of_a_device_that_left(
    post: Post, film_of: Any, film_camera: Any, place: Any, until: Any
) -> None:
    """The address of an open session needs no device."""
    camera = await film_camera(film_of())
    document = {"streamType": "subStream", "channel": 1}
    told = await post(f"{UID}/live/play-session", document)
    await camera.signaling.close()
    await until(lambda: place.site.devices.link(UID) is None)
    assert await post(f"{UID}/live/play-session", document) == told
    status, refused = await post(f"{UID}/live/play-session", {"streamType": "mainStream", "channel": 1})
    assert (status, refused["error"]["symbol"]) == (404, "device_offline")


async def test_recording_address(post: Post, film_of: Any, film_camera: Any) -> None:
    await film_camera(film_of())
    document = {"fileName": "Rec/01-a.mp4", "channel": 0}
    status, told = await post(f"{UID}/records/play-session", document)
    assert (status, told["expiredIn"]) == (200, 30)
    assert (await post(f"{UID}/records/play-session", document))[1]["playURL"] != told["playURL"]
    status, refused = await post(f"{UID}/records/play-session", {"fileName": "x", "channel": 0})
    assert (status, refused["error"]["symbol"]) == (404, "file_not_found")


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("lower/live/play-session", {"streamType": "mainStream", "channel": 0}),
        (f"{UID}/live/play-session", {"streamType": "main", "channel": 0}),
        (f"{UID}/live/play-session", {"streamType": ["mainStream"], "channel": 0}),
        (f"{UID}/live/play-session", {"streamType": "mainStream", "channel": 32}),
        (f"{UID}/live/play-session", {"streamType": "mainStream"}),
        (f"{UID}/records/play-session", {"fileName": "", "channel": 0}),
        (f"{UID}/records/play-session", {"fileName": "x" * 256, "channel": 0}),
        (f"{UID}/records/play-session", {"fileName": "x", "channel": "0"}),
    ],
)
async def test_wrong_parameters(post: Post, path: str, document: Any) -> None:
    status, told = await post(path, document)
    assert (status, told["error"]["symbol"]) == (400, "invalid_parameter")


@pytest.mark.parametrize(
    ("document", "symbol", "status"),
    [
        ({"streamType": "mainStream", "channel": 9}, "device_channel_not_found", 404),
        ({"streamType": "externStream", "channel": 5}, "stream_type_not_support", 400),
    ],
)
async def test_what_the_camera_lacks(
    post: Post, film_of: Any, film_camera: Any, document: Any, symbol: str, status: int
) -> None:
    await film_camera(film_of())
    got, told = await post(f"{UID}/live/play-session", document)
    assert (got, told["error"]["symbol"]) == (status, symbol)
