"""`ropctl logs`: the last log lines of a core server, or who changed what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from rop_operator.api.facts import Ref
from rop_operator.api.questions import Question
from rop_operator.cli.backend import Backend
from rop_operator.cli.inventory import only_server
from rop_operator.cli.lan import camera_name
from rop_operator.cli.read import fetch
from rop_operator.cli.show import print_data, print_table, safe
from rop_operator.cli.target import Target, command, effective_namespace

PAUSE = 1.0
MOST = 1_000
LEVELS = ("debug", "info", "warning", "error")
_FIRST = ("date", "level", "subject", "action")


@click.command("logs")
@click.argument("camera", required=False)
@click.option("--uid", metavar="UID", help="Of this device only; it needs no Camera.")
@click.option("--server", metavar="NAME", help="The RopServer [default: the camera's, or the only one].")
@click.option("--lines", type=click.IntRange(1, MOST), default=100, show_default=True, help="The last so many.")
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="This level or a worse one.")
@click.option("--follow", "-f", is_flag=True, help="Go on as lines come; Ctrl-C ends it.")
@click.option(
    "--audit", is_flag=True, help="Who changed what, instead of the log. It outlives the server process."
)
@command
async def logs(
    backend: Backend,
    target: Target,
    camera: str | None,
    uid: str | None,
    server: str | None,
    lines: int,
    level: str,
    follow: bool,
    audit: bool,
) -> None:
    """The last lines of a core server's log, oldest first: all, or those of one camera.

    \b
    Examples: ropctl logs front-door --follow
              ropctl logs --audit --uid 95270001ABCDEFGH
    Exit codes: 0; 1 when nothing answers; 64 usage.
    """
    if camera is not None and uid is not None:
        raise click.UsageError("give a camera or --uid")
    if audit and (follow or level != "debug"):
        raise click.UsageError("--audit has no levels and is not followed")
    home, uid = await _whose(backend, target, camera, uid, server)
    asked: dict[str, Any] = {"limit": lines} | ({"uid": uid} if uid is not None else {})
    if audit:
        _print_audit(await backend.ask(home, Question("Audit", asked)), target.output)
        return
    told = await backend.ask(home, Question("Logs", asked | {"level": level}))
    _print_lines(told, target.output, follow)
    while follow:
        await asyncio.sleep(PAUSE)
        asked |= {"limit": MOST, "after": told["next"]}
        told = await backend.ask(home, Question("Logs", asked | {"level": level}))
        _print_lines(told, target.output, follow)


async def _whose(
    backend: Backend, target: Target, camera: str | None, uid: str | None, server: str | None
) -> tuple[Ref, str | None]:
    namespace = await effective_namespace(backend, target)
    if camera is not None:
        spec = (await fetch(backend, Ref("Camera", namespace, camera_name(camera))))["spec"]
        server, uid = server or spec["serverRef"]["name"], spec["uid"]
    return await only_server(backend, namespace, server), uid


def _print_lines(told: Mapping[str, Any], output: str, follow: bool) -> None:
    if output in ("json", "yaml") and not follow:
        print_data(dict(told), output)
        return
    for line in told["items"]:
        click.echo(json.dumps(line) if output == "json" else safe(_line(line)))


def _line(line: Mapping[str, Any]) -> str:
    """`TIME LEVEL SUBJECT ACTION name=value ...`."""
    at = datetime.fromtimestamp(float(line.get("date", 0)) / 1000, UTC).isoformat(timespec="milliseconds")
    more = (f"{name}={value}" for name, value in line.items() if name not in _FIRST and value is not None)
    head = (at.replace("+00:00", "Z"), str(line.get("level", "")).upper(), line.get("subject"), line.get("action"))
    return " ".join([*(str(each) for each in head), *more])


def _print_audit(told: Mapping[str, Any], output: str) -> None:
    if output in ("json", "yaml"):
        print_data(dict(told), output)
        return
    names = ("at", "interface", "caller", "operation", "uid", "status")
    rows = [[safe(str(each.get(name, "-"))) for name in names] for each in told["items"]]
    print_table(["AT", "INTERFACE", "CALLER", "OPERATION", "UID", "STATUS"], rows)
