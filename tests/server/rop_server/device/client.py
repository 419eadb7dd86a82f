"""A client of 61009 for the tests, and a camera that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.packet import Packet

UID = "95270000000TEST1"
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 200 + b"\xff\xd9"


@dataclass(frozen=True)
class Answer:
    """Status, content type and body."""

    status: int
    content_type: str
    body: bytes
    document: Any

    @property
    def symbol(self) -> str:
        """The error symbol."""
        return str(self.document["error"]["symbol"])


class Client:
    """Calls 61009 with paths as they are written."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._base = f"http://127.0.0.1:{port}"

    async def __call__(self, method: str, path: str, body: Any = None, data: Any = None) -> Answer:
        url = URL(self._base + path.replace("{device}", f"/v1.0/devices/{UID}"), encoded=True)
        options: dict[str, Any] = (
            {"data": data} if data is not None else {"json": body} if body is not None else {}
        )
        async with self._session.request(method, url, **options) as answer:
            told = answer.headers["Content-Type"]
            content = await answer.read()
            document = await answer.json() if told.startswith("application/json") else None
            return Answer(answer.status, told, content, document)


def picture(line: Any, parts: list[bytes]) -> Any:
    """An answer to 109: the document, then the parts of the picture."""

    def answer(packet: Packet) -> None:
        line.send(packet.reply(payload=messages.EMPTY_DOCUMENT))
        for number, part in enumerate(parts, 1):
            status = messages.SNAPSHOT_LAST if number == len(parts) else messages.SNAPSHOT_MORE
            line.send(packet.reply(status=status, payload=part))

    return answer


CHANNELS = (
    messages.Channel(0, 3, ptz_type=2, ptz_control=0, wifi_mode=3),
    messages.Channel(1, 7, ptz_type=3, ptz_control=2),
    messages.Channel(2, 1, ptz_type=1),
    messages.Channel(31, 1),
)


def equip(line: Any, channels: tuple[messages.Channel, ...] = CHANNELS) -> None:
    """Answers to the calls of the client interface."""
    line.answers = {
        Command.SUPPORT: messages.Support(channels).encode(),
        Command.PTZ: 200,
        Command.SET_WIFI: 200,
        Command.TEST_WIFI: 200,
        Command.GET_WIFI: wifi(line),
        Command.SNAPSHOT: picture(line, [JPEG[:36864], JPEG[36864:]]),
    }


def wifi(line: Any) -> Any:
    """An answer to 116, which asks for two things."""

    def answer(packet: Packet) -> None:
        if messages.is_wifi_scan(packet.payload):
            found = (messages.WifiNetwork("Hof & Garten", -35, True), messages.WifiNetwork("open", -70, False))
            line.send(packet.reply(payload=messages.WifiNetworks(found).encode()))
        else:
            line.send(packet.reply(payload=messages.WifiConfig("Hof", 11, "DE").encode()))

    return answer


def asked(line: Any, command: Command) -> list[Packet]:
    """The requests of one kind that the camera got."""
    return [packet for packet in line.seen if packet.is_request and packet.command == command]
