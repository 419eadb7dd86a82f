"""`ropctl undelete`: cameras whose deletion is held come back, and their devices never notice."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from rop_operator.api.facts import Ref
from rop_operator.cli.backend import Backend
from rop_operator.cli.inventory import exported
from rop_operator.cli.read import fetch, parse_names
from rop_operator.cli.show import safe
from rop_operator.cli.target import EXIT_ERROR, Target, command, effective_namespace
from rop_operator.cli.write import POLL, called
from rop_operator.ports import PortError


@click.command("undelete")
@click.argument("what", nargs=-1, required=True, metavar="camera NAME...")
@click.option(
    "--held", is_flag=True, help="All of the namespace that are being deleted: `undelete camera --held`."
)
@click.option("--timeout", default=60.0, show_default=True, metavar="SECONDS", help="How long to wait for each.")
@command
async def undelete(backend: Backend, target: Target, what: tuple[str, ...], held: bool, timeout: float) -> int:
    """Bring Cameras back that are being deleted. Their devices stay allowed and are not written to.

    The deletion ends as deletionPolicy: Orphan, then the document is applied again as it was.

    \b
    Examples: ropctl undelete camera front-door
              ropctl undelete camera --held
    Exit codes: 0; 1 when one is not being deleted, or does not come back in time; 64 usage.
    """
    kind, names = parse_names(what)
    if kind.kind != "Camera" or bool(names) == held:
        raise click.UsageError("give camera NAME..., or camera --held")
    namespace = await effective_namespace(backend, target)
    if held:
        items = await backend.list("Camera", namespace)
        names = [i["metadata"]["name"] for i in items if i["metadata"].get("deletionTimestamp")]
    failed = 0
    for name in names:
        ref = Ref("Camera", namespace, name)
        try:
            await _bring_back(backend, ref, timeout)
            click.echo(f"{called(ref)} is back")
        except PortError as error:
            failed += 1
            click.echo(f"error: {called(ref)}: {safe(error.message)}", err=True)
    return EXIT_ERROR if failed else 0


async def _bring_back(backend: Backend, ref: Ref, timeout: float) -> None:
    item = await fetch(backend, ref)
    if not item["metadata"].get("deletionTimestamp"):
        raise PortError("Conflict", "it is not being deleted")
    document = exported(item)
    spared: dict[str, Any] = {**document, "spec": {**document["spec"], "deletionPolicy": "Orphan"}}
    await backend.apply([spared], "undelete", True)
    deadline = time.monotonic() + timeout
    # A host takes the deletion back at once; on a cluster the object has to go first.
    while (now := await backend.get(ref)) is not None and now["metadata"].get("deletionTimestamp"):
        if time.monotonic() > deadline:
            raise PortError("Timeout", f"it is still there after {timeout:.0f} s; apply it again once it is gone")
        await asyncio.sleep(POLL)
    await backend.apply([document], "undelete", True)
