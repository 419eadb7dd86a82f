"""PTZ: zoom, focus, rotate.

Source: ROP v1.0 wire specification, client-api 2.7, device-protocol 10.1, 10.4; discrepancies A8, A10, B9, C3.8.
"""

from __future__ import annotations

from rop_server.client import validation
from rop_server.client.errors import ClientError
from rop_server.client.exchange import OK, Calls, json_call
from rop_server.core.facade import Devices
from rop_wire import messages

STEPS = {"inc": "Inc", "dec": "Dec"}
DIRECTIONS = ("none", *messages.ROTATIONS)
DIAGONALS = frozenset({"leftUp", "leftDown", "rightUp", "rightDown"})


async def channel_of(devices: Devices, uid: str, number: int) -> messages.Channel:
    """What a channel can do. Raises `device_channel_not_found`, and as `Devices.support`."""
    channel = (await devices.support(uid)).channel(number)
    if channel is None:
        raise ClientError("device_channel_not_found")
    return channel


class PtzCalls:
    """The three calls that move a camera."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    def calls(self) -> Calls:
        """Every call by its operation."""
        return {
            "zoom": json_call(self.zoom),
            "focus": json_call(self.focus),
            "rotate": json_call(self.rotate),
        }

    async def zoom(self, path: dict[str, str], body: bytes) -> bytes:
        """One step in or out."""
        uid, number, step = _step(path, body)
        if not (await channel_of(self._devices, uid, number)).zooms:
            raise ClientError("cmd_not_support")
        await self._devices.call(uid, messages.Ptz(number, f"zoom{step}"))
        return OK

    async def focus(self, path: dict[str, str], body: bytes) -> bytes:
        """One step nearer or farther."""
        uid, number, step = _step(path, body)
        if not (await channel_of(self._devices, uid, number)).focuses:
            raise ClientError("cmd_not_support")
        await self._devices.call(uid, messages.Ptz(number, f"focus{step}"))
        return OK

    async def rotate(self, path: dict[str, str], body: bytes) -> bytes:
        """Turn until told otherwise; `none` stops."""
        uid = validation.uid(path["uid"])
        document = validation.json_object(body)
        number = validation.uint(document.get("channel"), "channel", 0, validation.MAX_CHANNEL)
        direction = validation.word(document.get("direction"), "direction", DIRECTIONS)
        speed = validation.uint(document.get("speed"), "speed", 1, 64)
        channel = await channel_of(self._devices, uid, number)
        if not channel.rotates:
            raise ClientError("cmd_not_support")
        if direction in DIAGONALS and not channel.diagonals:
            raise ClientError("direction_not_support")
        action = "stop" if direction == "none" else direction
        await self._devices.call(uid, messages.Ptz(number, action, speed))
        return OK


def _step(path: dict[str, str], body: bytes) -> tuple[str, int, str]:
    uid = validation.uid(path["uid"])
    document = validation.json_object(body)
    number = validation.uint(document.get("channel"), "channel", 0, validation.MAX_CHANNEL)
    return uid, number, STEPS[validation.word(document.get("action"), "action", STEPS)]
