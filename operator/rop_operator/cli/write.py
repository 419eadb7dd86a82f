"""Commands with documents: validate, plan, apply, delete; and secret set."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from rop_operator.adapters.clock import SystemClock
from rop_operator.api.facts import Ref
from rop_operator.api.registry import GROUP, KINDS, kind_of
from rop_operator.cli.backend import ApplyRefused, Backend, Object, Refusal, condition
from rop_operator.cli.preview import print_deletions, print_plans
from rop_operator.cli.read import parse_names
from rop_operator.cli.show import print_data, safe
from rop_operator.cli.sources import read_fleet
from rop_operator.cli.target import (
    EXIT_CHANGES,
    EXIT_ERROR,
    Target,
    command,
    effective_namespace,
    guarded,
)
from rop_operator.documents import Fleet
from rop_operator.errors import DocumentError
from rop_operator.ports import PortError

FILES = click.option(
    "--filename",
    "-f",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="File, directory or -; repeatable.",
)
POLL = 0.5
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def tell_foreign(fleet: Fleet) -> None:
    """Objects of other groups are named and left alone."""
    for raw in fleet.foreign:
        where = f"{raw.source}: {raw.label}"
        click.echo(f"{safe(where)}: not of group {GROUP}, left alone", err=True)


def called(ref: Ref) -> str:
    """`camera.rop.dev/front-door`, as kubectl names things."""
    row = kind_of(ref.kind)
    return f"{row.singular if row else ref.kind.lower()}.{GROUP}/{ref.name}"


@click.command("validate")
@FILES
@click.option("--namespace", "-n", default="default", metavar="NAME", help="For documents that name none.")
@click.option("--output", "-o", type=click.Choice(("table", "json", "yaml")), default="table")
def validate(files: tuple[str, ...], namespace: str, output: str) -> None:
    """Check documents without applying them; needs no host and no cluster.

    Every error names file, document, field, rule and remedy. The rules and messages are those of the cluster's
    schema.

    \b
    Example: ropctl validate -f cameras.yaml
    Exit codes: 0 all good; 1 a document is bad; 64 usage.
    """

    def run() -> int:
        fleet = read_fleet(files, namespace)
        tell_foreign(fleet)
        if output == "table":
            click.echo(f"{len(fleet.documents)} documents are valid")
        else:
            print_data({"valid": True, "documents": [str(d.ref) for d in fleet.documents]}, output)
        return 0

    raise SystemExit(guarded(run))


@click.command("plan")
@click.option("--filename", "-f", "files", multiple=True, metavar="FILE", help="File, directory or -; repeatable.")
@click.option("--delete", "deleting", is_flag=True, help="Of deleting what the documents name.")
@command
async def plan(backend: Backend, target: Target, files: tuple[str, ...], deleting: bool) -> int:
    """What would happen: every write, wake and reboot, before it does.

    Without -f: what the engine still has to do for the documents as they are.

    \b
    Examples: ropctl plan -f cameras.yaml
              ropctl plan --delete -f cameras.yaml
    Exit codes: 0 nothing would change; 2 changes; 1 a document is bad or nothing answers; 64 usage.
    """
    namespace = await effective_namespace(backend, target)
    fleet = read_fleet(files, namespace) if files else None
    namespaces = {namespace}
    if fleet is not None:
        tell_foreign(fleet)
        namespaces |= {document.ref.namespace for document in fleet.documents}
    current = [item for row in KINDS for each in sorted(namespaces) for item in await backend.list(row.kind, each)]
    now = SystemClock().now()
    if deleting:
        if fleet is None:
            raise click.UsageError("--delete needs -f FILE")
        changes = print_deletions([document.ref for document in fleet.documents], current, target.output, now)
    else:
        changes = print_plans(fleet, current, target.output, now)
    return EXIT_CHANGES if changes else 0


@click.command("apply")
@FILES
@click.option("--force-conflicts", is_flag=True, help="Take over fields that another writer owns (clusters).")
@click.option("--wait", is_flag=True, help="Wait until every object is Ready.")
@click.option("--timeout", default=120.0, show_default=True, metavar="SECONDS", help="How long to wait.")
@command
async def apply(
    backend: Backend, target: Target, files: tuple[str, ...], force_conflicts: bool, wait: bool, timeout: float
) -> int:
    """Create or update documents, all or nothing.

    \b
    Example: ropctl apply -f examples/quickstart
    Exit codes: 0; 1 a document is bad, nothing answers, or not Ready in time; 64 usage.
    """
    namespace = await effective_namespace(backend, target)
    fleet = read_fleet(files, namespace)
    tell_foreign(fleet)
    objects = [document.as_object() for document in fleet.documents]
    try:
        results = await backend.apply(objects, ", ".join(files), force_conflicts)
    except ApplyRefused as refused:
        for refusal in refused.refusals:
            click.echo(safe(str(_located(refusal, fleet))), err=True)
        return EXIT_ERROR
    if target.output in ("json", "yaml"):
        rows = [{"ref": str(r.ref), "result": r.result} for r in results]
        print_data({"results": rows}, target.output)
    else:
        for result in results:
            click.echo(f"{called(result.ref)} {result.result}")
    return await _wait_ready(backend, [r.ref for r in results], timeout) if wait else 0


def _located(refusal: Refusal, fleet: Fleet) -> DocumentError:
    """The refusal with file and document, as `validate` says it."""
    for document in fleet.documents:
        if document.ref == refusal.ref:
            raw = document.raw
            return DocumentError(raw.source, raw.label, refusal.field, refusal.rule, refusal.remedy)
    return DocumentError("", str(refusal.ref or ""), refusal.field, refusal.rule, refusal.remedy)


async def _wait_ready(backend: Backend, refs: Sequence[Ref], timeout: float) -> int:
    deadline = time.monotonic() + timeout
    waiting = list(refs)
    while waiting:
        items = [await backend.get(ref) for ref in waiting]
        waiting = [ref for ref, item in zip(waiting, items, strict=True) if item is None or not _current(item)]
        if waiting and time.monotonic() > deadline:
            for ref in waiting:
                ready = condition(await backend.get(ref) or {}, "Ready")
                said = f"{ready.get('reason', 'no status yet')}: {ready.get('message', '')}"
                click.echo(f"{called(ref)} is not Ready after {timeout:.0f} s: {safe(said)}", err=True)
            return EXIT_ERROR
        if waiting:
            await asyncio.sleep(POLL)
    return 0


def _current(item: Object) -> bool:
    ready = condition(item, "Ready")
    return ready.get("status") == "True" and ready.get("observedGeneration") == item["metadata"].get("generation")


@click.command("delete")
@click.argument("what", nargs=-1, metavar="[KIND NAME...]")
@click.option("--filename", "-f", "files", multiple=True, metavar="FILE", help="Delete what these documents name.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until they are gone.")
@click.option("--timeout", default=60.0, show_default=True, metavar="SECONDS", help="How long to wait.")
@command
async def delete(
    backend: Backend, target: Target, what: tuple[str, ...], files: tuple[str, ...], wait: bool, timeout: float
) -> int:
    """Delete objects. A Camera's device is denied on every port first, unless its deletionPolicy is Orphan.

    \b
    Examples: ropctl delete camera front-door
              ropctl delete -f cameras.yaml
    Exit codes: 0; 1 when one is not there, or not gone in time; 64 usage.
    """
    namespace = await effective_namespace(backend, target)
    if bool(what) == bool(files):
        raise click.UsageError("give KIND NAME..., or -f FILE")
    if files:
        refs = [document.ref for document in read_fleet(files, namespace).documents]
        refs.sort(key=lambda ref: ref.kind != "Camera")  # while their server is there, cameras can be denied
    else:
        kind, names = parse_names(what)
        if not names:
            raise click.UsageError(f"which {kind.plural}? Give their names")
        refs = [Ref(kind.kind, namespace, name) for name in names]
    missing = [ref for ref in refs if not await backend.delete(ref)]
    for ref in missing:
        click.echo(f"{called(ref)} is not there", err=True)
    asked = [ref for ref in refs if ref not in missing]
    late = await _wait_gone(backend, asked, timeout) if wait else []
    for ref in asked:
        if ref not in late:
            click.echo(f"{called(ref)} {'deleted' if wait else 'is being deleted'}")
    return EXIT_ERROR if late or (missing and not files) else 0


async def _wait_gone(backend: Backend, refs: Sequence[Ref], timeout: float) -> list[Ref]:
    deadline = time.monotonic() + timeout
    there = list(refs)
    while there:
        there = [ref for ref in there if await backend.get(ref) is not None]
        if there and time.monotonic() > deadline:
            for ref in there:
                item = await backend.get(ref) or {}
                found = condition(item, "Stalled") or condition(item, "Ready")
                said = f"{found.get('reason', 'Unknown')}: {found.get('message', '')}"
                click.echo(f"{called(ref)} is not gone after {timeout:.0f} s: {safe(said)}", err=True)
            return there
        if there:
            await asyncio.sleep(POLL)
    return there


@click.group("secret")
def secret() -> None:
    """Secret values that documents refer to."""


@secret.command("set")
@click.argument("name")
@click.argument("key")
@click.option("--secrets", metavar="DIR", help="The agent's secrets directory [default: /etc/rop/secrets].")
@click.option("--raw", is_flag=True, help="Keep a line end at the end of the value.")
@command
async def secret_set(
    backend: Backend, target: Target, name: str, key: str, secrets: str | None, raw: bool
) -> None:
    """Store a value read from standard input; on a cluster it is labelled so that documents may refer to it.

    \b
    Example: ropctl -n video secret set alarm url < webhook-url.txt
    Exit codes: 0; 1 when it cannot be stored; 64 usage.
    """
    for word in (name, key):
        if not _KEY.fullmatch(word) or word.startswith("."):
            raise click.UsageError(
                "NAME and KEY are 1 to 253 letters, digits, -, _ and ., not beginning with a dot"
            )
    if secrets is not None and not target.on_cluster:
        from rop_operator.cli.host import HostBackend

        backend = HostBackend(Path(target.state or "."), Path(secrets))
    asked = click.prompt("Value", hide_input=True, type=str) if sys.stdin.isatty() else None
    value = sys.stdin.buffer.read() if asked is None else str(asked).encode()
    if not raw:
        value = value.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise PortError("SecretInvalid", "an empty value is not stored")
    where = await backend.set_secret(await effective_namespace(backend, target), name, key, value)
    click.echo(f"stored: {where}")
