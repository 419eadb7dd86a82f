"""Commands to one camera by the client interface (61009): snapshot, play, ptz."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from rop_operator.api.facts import Ref
from rop_operator.cli.backend import Backend, Object
from rop_operator.cli.lan import camera_name
from rop_operator.cli.read import fetch
from rop_operator.cli.show import print_data
from rop_operator.cli.target import Target, command, effective_namespace
from rop_operator.ports import Endpoint, PortError

STREAMS = {"main": "mainStream", "sub": "subStream", "extern": "externStream"}
DIRECTIONS = ("left", "right", "up", "down", "leftUp", "leftDown", "rightUp", "rightDown", "stop")
STEPS = {
    "zoom-in": ("zoom", "inc"),
    "zoom-out": ("zoom", "dec"),
    "focus-inc": ("focus", "inc"),
    "focus-dec": ("focus", "dec"),
}
_WHERE = (
    click.option("--channel", type=click.IntRange(0, 255), default=0, show_default=True),
    click.option(
        "--url", metavar="URL", help="Client interface or gateway [default: that of this machine's server]."
    ),
    click.option(
        "--ca", type=click.Path(path_type=Path), metavar="FILE", help="--url: certificates to trust, PEM."
    ),
    click.option(
        "--token-file", type=click.Path(path_type=Path), metavar="FILE", help="--url: a gateway's token."
    ),
)
STREAM = click.option("--stream", type=click.Choice(sorted(STREAMS)), default="main", show_default=True)


def where_options(function: click.decorators.FC) -> click.decorators.FC:
    """Which channel, and where the client interface is."""
    for option in reversed(_WHERE):
        function = option(function)
    return function


class Device:
    """One camera, through 61009."""

    def __init__(self, endpoint: Endpoint, uid: str) -> None:
        from rop_operator.adapters.fleet_transport import Transport

        self._transport = Transport(endpoint, True)
        self._root = f"/v1.0/devices/{uid}"

    async def call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        """JSON of an answer. PortError with the reason of the camera."""
        status, answer = await self._transport.call(method, self._root + path, body=body)
        if status >= 300:
            raise self._refused(status, answer)
        return dict(answer or {})

    async def picture(self, stream: str, channel: int) -> bytes:
        """A JPEG. PortError."""
        query: dict[str, str | int] = {"stream_type": stream, "channel": channel}
        status, data = await self._transport.fetch(f"{self._root}/snap/snapshot.jpg", query)
        if status >= 300:
            from rop_operator.adapters.fleet_transport import decoded

            raise self._refused(status, decoded(data))
        return data

    def _refused(self, status: int, answer: Any) -> PortError:
        from rop_operator.adapters.fleet_management import refusal

        return refusal(status, answer, self._transport.where)

    async def close(self) -> None:
        """Release connections."""
        await self._transport.close()


async def _device(
    backend: Backend, target: Target, camera: str, url: str | None, ca: Path | None, token_file: Path | None
) -> Device:
    ref = Ref("Camera", await effective_namespace(backend, target), camera_name(camera))
    item = await fetch(backend, ref)
    if (item.get("status") or {}).get("state") == "Asleep":
        click.echo(f"{ref.name} sleeps: this wakes it", err=True)
    if url is None:
        server = await fetch(backend, Ref("RopServer", ref.namespace, item["spec"]["serverRef"]["name"]))
        url = _address(server, target.on_cluster)
    try:
        authority = ca.read_bytes() if ca else None
        token = token_file.read_text(encoding="ascii").strip() if token_file else None
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"cannot be read: {error}") from None
    return Device(Endpoint(url, "ClientAPI", authority, token), item["spec"]["uid"])


def _address(server: Object, on_cluster: bool) -> str:
    """Of the client interface. PortError when it is not on this machine."""
    external = server["spec"].get("external") or {}
    address = str(external.get("url", "unix:"))
    if external.get("interface") == "ClientAPI":
        return address
    if on_cluster or not address.startswith("unix:"):
        raise PortError(
            "NotReachableFromHere",
            "its server is not on this machine: give --url of its gateway, with --token-file",
        )
    observed = (server.get("status") or {}).get("observed") or {}
    return f"http://127.0.0.1:{(observed.get('ports') or {}).get('clientHttp', 61009)}"


@click.command("snapshot")
@click.argument("camera")
@STREAM
@where_options
@command
async def snapshot(
    backend: Backend,
    target: Target,
    camera: str,
    stream: str,
    channel: int,
    url: str | None,
    ca: Path | None,
    token_file: Path | None,
) -> None:
    """A picture of now, as JPEG on standard output. Wakes a sleeping camera.

    \b
    Example: ropctl snapshot front-door > door.jpg
    Exit codes: 0; 1 the camera gives none, or nothing answers; 64 usage.
    """
    if sys.stdout.isatty():
        raise click.UsageError("a terminal shows no JPEG: write it into a file or a pipe")
    device = await _device(backend, target, camera, url, ca, token_file)
    try:
        sys.stdout.buffer.write(await device.picture(STREAMS[stream], channel))
        sys.stdout.buffer.flush()
    finally:
        await device.close()


@click.command("play")
@click.argument("camera")
@STREAM
@where_options
@command
async def play(
    backend: Backend,
    target: Target,
    camera: str,
    stream: str,
    channel: int,
    url: str | None,
    ca: Path | None,
    token_file: Path | None,
) -> None:
    """An RTSP address to watch; open it within the seconds told, show it to nobody else. Wakes a sleeping camera.

    \b
    Example: ffplay "$(ropctl play front-door)"
    Exit codes: 0; 1 there is no such stream, or nothing answers; 64 usage.
    """
    device = await _device(backend, target, camera, url, ca, token_file)
    try:
        asked = {"streamType": STREAMS[stream], "channel": channel}
        answer = await device.call("POST", "/live/play-session", asked)
    finally:
        await device.close()
    if target.output in ("json", "yaml"):
        print_data(answer, target.output)
        return
    click.echo(answer["playURL"])
    click.echo(f"open it within {answer['expiredIn']} s", err=True)


@click.command("ptz")
@click.argument("camera")
@click.argument("action", type=click.Choice((*DIRECTIONS, *STEPS)))
@click.option("--speed", type=click.IntRange(1, 64), default=32, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.1, 60), default=0.5, show_default=True, help="Turn for so long."
)
@where_options
@command
async def ptz(
    backend: Backend,
    target: Target,
    camera: str,
    action: str,
    speed: int,
    seconds: float,
    channel: int,
    url: str | None,
    ca: Path | None,
    token_file: Path | None,
) -> None:
    """Turn a camera for a moment, or zoom or focus by one step. Wakes a sleeping camera.

    \b
    Example: ropctl ptz yard leftUp --seconds 2
    Exit codes: 0; 1 it cannot do that, or nothing answers; 64 usage.
    """
    device = await _device(backend, target, camera, url, ca, token_file)
    turn = {"channel": channel, "speed": speed}
    try:
        if action in STEPS:
            kind, step = STEPS[action]
            await device.call("PATCH", f"/ptz/{kind}", {"channel": channel, "action": step})
            return
        try:
            if action != "stop":
                await device.call("POST", "/ptz/rotate", {**turn, "direction": action})
                await asyncio.sleep(seconds)
        finally:  # a rotation goes on until somebody stops it
            await device.call("POST", "/ptz/rotate", {**turn, "direction": "none"})
    finally:
        await device.close()
