"""`ropctl qr`: set-ups as QR codes, for cameras without a LAN port: one, or a sheet of them."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from rop_operator.api.facts import Ref, Session
from rop_operator.cli.backend import Backend, Object, condition, ref_of
from rop_operator.cli.lan import ONE_WAY, camera_name, open_session
from rop_operator.cli.read import fetch
from rop_operator.cli.show import safe
from rop_operator.cli.target import EXIT_ERROR, Target, command, effective_namespace
from rop_operator.domain.reach import not_public
from rop_operator.ports import PortError

if TYPE_CHECKING:
    from rop_operator.adapters.qr_sheet import SheetRow

POLL = 1.0
FORMATS = ("terminal", "png", "svg")


@click.command("qr")
@click.argument("cameras", nargs=-1, metavar="[CAMERA...]")
@click.option("--once", is_flag=True, help="Print it and leave, without counting down.")
@click.option("--format", "kind", type=click.Choice(FORMATS), default="terminal", show_default=True)
@click.option(
    "--sheet", is_flag=True, help="A page with a row for each: those named, else all that are not online."
)
@click.option(
    "--listen", default="127.0.0.1", show_default=True, metavar="ADDR", help="--sheet: a loopback address."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="--sheet: TCP port [default: any].")
@command
async def qr(
    backend: Backend,
    target: Target,
    cameras: tuple[str, ...],
    once: bool,
    kind: str,
    sheet: bool,
    listen: str,
    port: int,
) -> int:
    """The set-up as a QR code, for cameras without a LAN port (4G). ONE-WAY.

    It holds an authorization code: show it to nobody else. It is never stored and ends at the time shown. png and
    svg go to standard output: what you keep of them is yours to delete. --sheet serves a page on this machine:
    codes are made when asked for and renewed while shown; it ends when every camera is online.

    \b
    Examples: ropctl qr gate
              ropctl qr gate --format svg > gate.svg
              ropctl qr --sheet
    Exit codes: 0; 1 no code can be made, or it expired while counting down; 64 usage.
    """
    namespace = await effective_namespace(backend, target)
    names = [camera_name(word) for word in cameras]
    if sheet:
        return await _sheet(backend, namespace, names, listen, port)
    if len(names) != 1:
        raise click.UsageError("give one CAMERA, or --sheet")
    item = await fetch(backend, Ref("Camera", namespace, names[0]))
    await warn_of_reach(backend, [item])
    session = await open_session(backend, item)
    click.echo(ONE_WAY, err=True)
    _show(session, kind)
    left = remaining(session)
    until = f"valid for {left} s, until {session.expires_at:%H:%M:%S} UTC"
    click.echo(f"{item['metadata']['name']} ({session.uid}): {until}", err=kind != "terminal")
    if once or not sys.stdout.isatty():
        return 0
    return await _count_down(backend, item, session)


def _show(session: Session, kind: str) -> None:
    from rop_operator.adapters import setup_code

    if kind == "terminal":
        setup_code.code_of(session).terminal(compact=True)
        return
    if sys.stdout.isatty():
        raise click.UsageError(f"a terminal shows no {kind}: write it into a file or a pipe")
    data = setup_code.png(session) if kind == "png" else setup_code.svg(session).encode()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


async def warn_of_reach(backend: Backend, items: Sequence[Object]) -> None:
    """Say on standard error when a camera with a mobile connection cannot reach its server."""
    servers = {(i["metadata"]["namespace"], i["spec"]["serverRef"]["name"]) for i in items}
    for namespace, name in sorted(servers):
        server = await backend.get(Ref("RopServer", namespace, name))
        why = not_public(str(server["spec"].get("host", ""))) if server else None
        if why is not None:
            told = f"warning: RopServer {name}: {why}; a camera that only has 4G cannot reach it"
            click.echo(safe(told), err=True)


def remaining(session: Session) -> int:
    """Whole seconds that a session's code has left."""
    return max(0, int((session.expires_at - datetime.now(UTC)).total_seconds()))


async def _count_down(backend: Backend, item: Object, session: Session) -> int:
    ref = ref_of(item)
    while left := remaining(session):
        click.echo(f"\r{left:4d} s ", nl=False)
        if _online(await fetch(backend, ref)):
            click.echo(f"\r{ref.name} is online")
            return 0
        await asyncio.sleep(POLL)
    click.echo("\rexpired; run the command again for a new code")
    return EXIT_ERROR


def _online(item: Object) -> bool:
    return condition(item, "Online").get("status") == "True"


async def _sheet(backend: Backend, namespace: str, names: Sequence[str], listen: str, port: int) -> int:
    from rop_operator.adapters.qr_sheet import QrSheet, SheetRow

    _loopback(listen)
    chosen = await _chosen(backend, namespace, names)
    if not chosen:
        click.echo("Every camera is online.", err=True)
        return 0
    await warn_of_reach(backend, list(chosen.values()))

    async def rows() -> list[SheetRow]:
        items = {item["metadata"]["name"]: item for item in await backend.list("Camera", namespace)}
        return [SheetRow(*_row(items[name])) for name in chosen if name in items]

    async def session(name: str) -> Session:
        return await open_session(backend, await fetch(backend, Ref("Camera", namespace, name)))

    page = QrSheet(rows, session)
    try:
        address = await page.start(listen, port)
    except OSError as error:
        raise PortError("NotListening", f"{listen} port {port}: {error.strerror}") from None
    try:
        click.echo(ONE_WAY, err=True)
        click.echo(f"{len(chosen)} cameras on {address}")
        await _all_online(rows)
        click.echo("every camera is online")
        await asyncio.sleep(2 * POLL)  # the page sees it as well
    finally:
        await page.stop()
    return 0


async def _all_online(rows: Callable[[], Awaitable[Sequence[SheetRow]]]) -> None:
    while True:
        if all(row.online for row in await rows()):
            return
        await asyncio.sleep(POLL)


def _loopback(listen: str) -> None:
    try:
        good = ipaddress.ip_address(listen).is_loopback
    except ValueError:
        good = False
    if not good:
        raise click.UsageError("--listen is a loopback address: codes are for whoever sits at this machine")


async def _chosen(backend: Backend, namespace: str, names: Sequence[str]) -> dict[str, Object]:
    """The cameras of the sheet by name, in order."""
    if names:
        return {name: await fetch(backend, Ref("Camera", namespace, name)) for name in names}
    items = await backend.list("Camera", namespace)
    waiting = [i for i in items if not _online(i) and i["spec"].get("access") != "Denied"]
    return {i["metadata"]["name"]: i for i in waiting if not i["metadata"].get("deletionTimestamp")}


def _row(item: Object) -> tuple[str, str, str, bool]:
    name = item["metadata"]["name"]
    return name, item["spec"]["uid"], item["spec"].get("displayName") or name, _online(item)
