"""Commands on the cameras' LAN: discover, provision. They work from wherever they run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import click

from rop_operator.api.facts import Found, Ref, Session
from rop_operator.api.registry import kind_called
from rop_operator.cli.backend import Backend, Object, condition
from rop_operator.cli.inventory import import_cameras
from rop_operator.cli.read import fetch
from rop_operator.cli.show import print_data, print_table, safe
from rop_operator.cli.target import EXIT_ERROR, Target, command, effective_namespace
from rop_operator.ports import Lan, PortError

POLL = 0.5
SETUP_PORT = 9527
ONE_WAY = (
    "The hand-over is one-way: afterwards the camera speaks only to this server and the vendor's app no longer\n"
    "reaches it. The camera must run firmware that supports the open platform (ROP)."
)
# A person at this machine names the camera; private networks are where cameras are.
PRIVATE_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10")
_DISCOVERY = (
    click.option("--discovery-address", default="255.255.255.255", show_default=True, help="Broadcast address."),
    click.option("--discovery-port", default=2000, show_default=True, help="UDP port of discovery."),
    click.option(
        "--lan-cidrs", default=",".join(PRIVATE_NETWORKS), metavar="CIDR,...", help="The cameras' networks."
    ),
    click.option("--allow-loopback", is_flag=True, help="Allow cameras on loopback (virtual ones)."),
)


def lan_options(function: click.decorators.FC) -> click.decorators.FC:
    """Where the LAN is."""
    for option in reversed(_DISCOVERY):
        function = option(function)
    return function


def _lan(address: str, port: int, cidrs: str, allow_loopback: bool) -> Lan:
    from rop_operator.adapters.lan import NetworkLan  # aiohttp: half a second that other commands need not wait

    networks = [cidr.strip() for cidr in cidrs.split(",") if cidr.strip()]
    if allow_loopback:
        networks.append("127.0.0.0/8")
    try:
        return NetworkLan(networks, address, port, allow_loopback)
    except ValueError as error:
        raise click.UsageError(f"--lan-cidrs: {error}") from None


@click.command("discover")
@click.option("--seconds", default=3.0, show_default=True, help="How long to listen.")
@click.option("--from-host", is_flag=True, help="Discover on the LAN of the agent's machine instead of here.")
@click.option(
    "--import", "folder", type=click.Path(path_type=Path), help="Write Camera files here for those without one."
)
@click.option("--server", metavar="NAME", help="--import: their RopServer [default: the only one].")
@lan_options
@command
async def discover(
    backend: Backend,
    target: Target,
    seconds: float,
    from_host: bool,
    folder: Path | None,
    server: str | None,
    discovery_address: str,
    discovery_port: int,
    lan_cidrs: str,
    allow_loopback: bool,
) -> None:
    """List the cameras that answer on the LAN, and the Camera each belongs to.

    --import also takes those that a server knows without a Camera, writes no file twice, and touches no device:
    look at the files, then apply them.

    \b
    Examples: ropctl discover
              ropctl discover --import fleet --server home
    Exit codes: 0; 1 when the network cannot be used; 64 usage.
    """
    if from_host:
        found = await backend.discover(seconds)
    else:
        lan = _lan(discovery_address, discovery_port, lan_cidrs, allow_loopback)
        found = await lan.discover(seconds)
    if folder is not None:
        await import_cameras(backend, target, folder, server, found)
        return
    owners = await _owners(backend)
    rows = [[safe(f.uid), safe(f.address), str(f.port), owners.get(f.uid, "-")] for f in _distinct(found)]
    if target.output in ("json", "yaml"):
        keys = ("uid", "address", "port", "camera")
        print_data({"items": [dict(zip(keys, row, strict=True)) for row in rows]}, target.output)
    elif rows:
        print_table(["UID", "ADDRESS", "PORT", "CAMERA"], rows)
    else:
        click.echo("Nothing answered. Camera and this machine must share a network segment.", err=True)


def _distinct(found: Sequence[Found]) -> list[Found]:
    return sorted(set(found), key=lambda each: (each.uid, each.address, each.port))


async def _owners(backend: Backend) -> dict[str, str]:
    """UID to `namespace/name`; empty when nothing answers, for discovery needs no host."""
    try:
        items = await backend.list("Camera", None)
    except PortError:
        return {}
    return {item["spec"]["uid"]: f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in items}


def camera_name(word: str) -> str:
    """The name out of `front-door` or `camera/front-door`."""
    kind, slash, name = word.rpartition("/")
    row = kind_called(kind) if slash else None
    if slash and (row is None or row.kind != "Camera"):
        raise click.UsageError(f"{safe(word)} is no camera")
    return name


async def open_session(backend: Backend, camera: Object) -> Session:
    """A set-up session for a Camera. PortError."""
    spec, namespace = camera["spec"], camera["metadata"]["namespace"]
    if spec.get("access") == "Denied":
        raise PortError("Denied", "its Camera says access: Denied; allow it first")
    return await backend.session(Ref("RopServer", namespace, spec["serverRef"]["name"]), spec["uid"])


@click.command("provision")
@click.argument("camera")
@click.option("--address", help="IP address of the camera; left out, it is found by discovery.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help=f"Its set-up port [default: discovered, or {SETUP_PORT}]."
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option(
    "--timeout", default=90.0, show_default=True, metavar="SECONDS", help="Wait so long for it to be online."
)
@lan_options
@command
async def provision(
    backend: Backend,
    target: Target,
    camera: str,
    address: str | None,
    port: int | None,
    yes: bool,
    timeout: float,
    discovery_address: str,
    discovery_port: int,
    lan_cidrs: str,
    allow_loopback: bool,
) -> int:
    """Hand a camera on this machine's LAN over to its server, which may be far away. ONE-WAY.

    \b
    Example: ropctl provision front-door
    Exit codes: 0 online; 1 refused, silent or not online in time; 64 usage.
    """
    namespace = await effective_namespace(backend, target)
    ref = Ref("Camera", namespace, camera_name(camera))
    item = await fetch(backend, ref)
    if condition(item, "Online").get("status") == "True":
        click.echo(f"{ref.name} already talks to its server; nothing to do")
        return 0
    click.echo(ONE_WAY, err=True)
    if not yes:
        click.confirm(f"Hand over {ref.name} ({item['spec']['uid']})?", abort=True, err=True)
    lan = _lan(discovery_address, discovery_port, lan_cidrs, allow_loopback)
    if address is None:
        where = await _find(lan, item["spec"]["uid"])
        address, port = where.address, port or where.port
    symbol = await lan.hand_over(address, port or SETUP_PORT, await open_session(backend, item))
    if symbol is not None:
        click.echo(f"error: {ref.name} at {address} answered {safe(symbol)}", err=True)
        return EXIT_ERROR
    click.echo(f"{ref.name} at {address} took the set-up; waiting until it is online")
    return await _wait_online(backend, ref, timeout)


async def _find(lan: Lan, uid: str) -> Found:
    found = {(f.address, f.port): f for f in await lan.discover(3.0) if f.uid == uid}
    if not found:
        raise PortError(
            "CameraSilent", f"{uid} does not answer discovery on this LAN; give --address if it is known"
        )
    if len(found) > 1:
        places = ", ".join(sorted(address for address, _ in found))
        raise PortError("CameraAmbiguous", f"{uid} answers from {places}; give --address of the right one")
    return next(iter(found.values()))


async def _wait_online(backend: Backend, ref: Ref, timeout: float) -> int:
    deadline = time.monotonic() + timeout
    while True:
        online = condition(await fetch(backend, ref), "Online")
        if online.get("status") == "True":
            click.echo(f"{ref.name} is online")
            return 0
        if time.monotonic() > deadline:
            said = f"{online.get('reason', '')}: {online.get('message', '')}"
            click.echo(f"error: {ref.name} is not online after {timeout:.0f} s ({safe(said)})", err=True)
            return EXIT_ERROR
        await asyncio.sleep(POLL)
