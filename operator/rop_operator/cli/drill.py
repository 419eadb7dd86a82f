"""`ropctl drill`: one trial of a recovery now, as a RecoveryDrill; what else `rop-drill` does, by that program."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from rop_operator.api.facts import Ref
from rop_operator.api.registry import API_VERSION
from rop_operator.cli.backend import Backend, Object, condition
from rop_operator.cli.inventory import only_server
from rop_operator.cli.show import print_data, safe
from rop_operator.cli.target import Target, command, effective_namespace

PAUSE = 0.5
SERVER = click.option("--server", metavar="NAME", help="The RopServer [default: the only one].")
_PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}


def beside(name: str) -> str:
    """A program installed beside this one, or of PATH."""
    own = Path(sys.argv[0]).absolute().with_name(name)
    found = str(own) if own.is_file() else shutil.which(name)
    if found is None:
        raise click.ClickException(f"{name} is not on this machine; install its package first")
    return found


@click.group("drill")
def drill() -> None:
    """Trials of a recovery: the newest archive is restored in memory, and virtual cameras must live on it."""


@drill.command("run")
@click.option("--target", "place", metavar="NAME", help="A target of spec.backup [default: the only one].")
@click.option("--name", metavar="NAME", help="Name of the RecoveryDrill [default: drill-TIME].")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for its result.")
@click.option("--timeout", default=900.0, show_default=True, metavar="SECONDS", help="How long to wait.")
@SERVER
@command
async def run(
    backend: Backend,
    target: Target,
    server: str | None,
    place: str | None,
    name: str | None,
    wait: bool,
    timeout: float,
) -> int:
    """Drill now: make a RecoveryDrill and wait for its result. The server need not run.

    \b
    Example: ropctl drill run
    Exit codes: 0 passed; 1 not, or not in time; 64 usage.
    """
    home = await only_server(backend, await effective_namespace(backend, target), server)
    spec: dict[str, Any] = {"serverRef": {"name": home.name}} | ({"targetName": place} if place else {})
    ref = Ref("RecoveryDrill", home.namespace, name or f"drill-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    metadata = {"name": ref.name, "namespace": ref.namespace}
    document = {"apiVersion": API_VERSION, "kind": ref.kind, "metadata": metadata, "spec": spec}
    await backend.apply([document], "ropctl drill run", False)
    if not wait:
        click.echo(safe(ref.name))
        return 0
    found = await _wait(backend, ref, time.monotonic() + timeout)
    status: Mapping[str, Any] = found.get("status") or {}
    if target.output in ("json", "yaml"):
        print_data(found, target.output)
    else:
        ready = condition(found, "Ready")
        click.echo(f"{safe(ref.name)}: {safe(str(ready.get('reason')))}: {safe(str(ready.get('message')))}")
        told = status.get("observed") or {}
        for member, what in (("rtoSeconds", "recovery time"), ("rpoSeconds", "age of the data")):
            if told.get(member) is not None:
                click.echo(f"{what}: {told[member]} s")
    return 0 if condition(found, "Complete").get("status") == "True" else 1


async def _wait(backend: Backend, ref: Ref, deadline: float) -> Object:
    """Its object, once it has ended or the time is over; each phase is told once."""
    shown = ""
    while True:
        found = await backend.get(ref) or {}
        status = found.get("status") or {}
        phase = str(status.get("phase") or "Pending")
        if phase != shown:
            shown = phase
            click.echo(f"{phase}", err=True)
        if status.get("completedAt") or time.monotonic() > deadline:
            return found
        await asyncio.sleep(PAUSE)


def _passes(name: str, text: str) -> click.Command:
    """A command of `rop-drill` with its own options."""

    @click.command(name, context_settings=_PASSED_ON, help=text)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def passed(arguments: tuple[str, ...]) -> None:
        found = beside("rop-drill")
        os.execv(found, [found, name, *arguments])  # noqa: S606 - no shell, the words as they are

    return passed


for _name, _text in (
    ("self-test", "Sabotage copies of an archive in every way; each must be noticed (`rop-drill self-test`)."),
    ("verify", "Verify the signature of a report (`rop-drill verify FILE --expect-signer HEX`)."),
    ("reasons", "List why a drill fails (`rop-drill reasons`)."),
):
    drill.add_command(_passes(_name, _text))
