"""The local control socket of a camera: one JSON request per line, one JSON answer per line."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rop_sim.camera import Camera

MAX_LINE = 65536
MAX_SOCKET_NAME = 108


class ControlError(Exception):
    """A request that cannot be done; the message says why."""


def _pir_member(member: tuple[str, Any]) -> bool:
    name, value = member
    if name == "sensitivity":
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100
    return name in ("enabled", "reduceMistakes") and isinstance(value, bool)


async def perform(camera: Camera, request: dict[str, Any]) -> dict[str, Any]:
    """Do one request. Raises ControlError."""
    match request:
        case {"do": "status"}:
            return camera.status()
        case {"do": "alarm", "type": str(kind)}:
            if not await camera.raise_alarm(kind):
                raise ControlError("not reported: the alarm switch is off or the camera is offline")
        case {"do": "set-name", "name": str(name)}:
            camera.change(deviceName=name)
        case {"do": "set-alarm", "enabled": bool(enabled)}:
            camera.change(alarm=enabled)
        case {"do": "set-pir", "pir": dict(pir)} if pir and all(map(_pir_member, pir.items())):
            camera.change(pir=pir)
        case {"do": "set-battery", "percent": int(percent)} if 0 <= percent <= 100:
            camera.change(battery=percent)
        case {"do": "set-wifi", "ssid": str(ssid)} if camera.traits.radio:
            camera.change(wifi=ssid, astray=False)
        case {"do": "set-fault", "fault": str(word)}:
            camera.faults.set(word)
        case {"do": "clear-faults"}:
            camera.faults.clear()
        case {"do": "disconnect"}:
            camera.disconnect()
        case {"do": "renew"}:
            if not await camera.renew():
                raise ControlError("not renewed: see device.log")
        case {"do": "reset"}:
            camera.reset()
        case _:
            raise ControlError("unknown request, or a value out of its range")
    return {"ok": True}


async def serve(camera: Camera, path: Path) -> asyncio.Server:
    """Listen on the socket."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                try:
                    answer = await perform(camera, json.loads(line))
                except (ControlError, ValueError) as failure:
                    answer = {"error": str(failure)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            return
        finally:
            writer.close()

    path.unlink(missing_ok=True)
    with short_name(path) as name:
        return await asyncio.start_unix_server(client, name, limit=MAX_LINE)


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name for a socket whose path may be too long for one (108 bytes on Linux)."""
    if len(os.fsencode(path)) < MAX_SOCKET_NAME:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def call(path: Path, request: dict[str, Any], seconds: float = 30.0) -> dict[str, Any]:
    """Ask a running camera. Raises ControlError, also when none runs there."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(seconds)
        try:
            with short_name(path) as name:
                sock.connect(name)
        except OSError as failure:
            raise ControlError(f"no camera runs in {path.parent} ({failure.strerror})") from None
        sock.sendall(json.dumps(request).encode() + b"\n")
        with sock.makefile("rb") as answers:
            answer: dict[str, Any] = json.loads(answers.readline() or b'{"error": "no answer"}')
    if "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer
