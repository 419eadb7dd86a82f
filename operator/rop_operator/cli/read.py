"""Commands that change nothing: get, describe, events, doctor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from rop_operator.api.facts import Ref
from rop_operator.api.registry import KINDS, Kind, kind_called
from rop_operator.cli.backend import Backend, Check, Object, condition, ref_of
from rop_operator.cli.inventory import print_inventory
from rop_operator.cli.show import describe_lines, print_data, print_events, print_objects, print_table, safe
from rop_operator.cli.target import EXIT_ERROR, Target, command, effective_namespace
from rop_operator.ports import PortError


def parse_kind(word: str) -> Kind:
    """The kind a user means. UsageError names those that exist."""
    kind = kind_called(word)
    if kind is None:
        known = ", ".join(f"{row.plural} ({', '.join(row.short_names)})" for row in KINDS)
        raise click.UsageError(f"there is no kind {safe(word)!r}; known: {known}")
    return kind


def parse_names(words: Sequence[str]) -> tuple[Kind, list[str]]:
    """`cameras`, `camera front-door yard`, `camera/front-door`."""
    word, _, name = words[0].partition("/")
    names = [*([name] if name else []), *words[1:]]
    return parse_kind(word), names


async def fetch(backend: Backend, ref: Ref) -> Object:
    """The object; PortError `NotFound` when there is none."""
    item = await backend.get(ref)
    if item is None:
        raise PortError("NotFound", f"there is no {ref.kind} {ref.name} in namespace {ref.namespace}")
    return item


@click.command("get")
@click.argument("what", nargs=-1, required=True, metavar="KIND [NAME]...")
@click.option("--all-namespaces", "-A", is_flag=True, help="Of every namespace.")
@click.option("--all", "everything", is_flag=True, help="Cameras: also those without a Camera, and the LAN's.")
@click.option("--lan-seconds", default=2.0, show_default=True, help="--all: so long on the engine's LAN; 0: not.")
@command
async def get(
    backend: Backend,
    target: Target,
    what: tuple[str, ...],
    all_namespaces: bool,
    everything: bool,
    lan_seconds: float,
) -> None:
    """Show objects: which are not fine, and why.

    --all lists every camera that a server or the LAN has ever shown. CLAIM: Claimed (a Camera names it), Enrolled
    (a server knows it, no Camera does), Revoked (the same, and denied), Found (on the LAN only).

    \b
    Examples: ropctl get cameras
              ropctl get camera front-door -o yaml
              ropctl get cameras --all
    Exit codes: 0; 1 when one is not there or nothing answers; 64 usage.
    """
    kind, names = parse_names(what)
    if names and all_namespaces:
        raise click.UsageError("a name lies in one namespace: leave out --all-namespaces")
    if everything and (names or kind.kind != "Camera"):
        raise click.UsageError("--all is for `get cameras`, without names")
    namespace = None if all_namespaces else await effective_namespace(backend, target)
    if everything:
        await print_inventory(backend, target, namespace, lan_seconds)
        return
    if names:
        items = [await fetch(backend, Ref(kind.kind, namespace or "", name)) for name in names]
    else:
        items = list(await backend.list(kind.kind, namespace))
    if not items and target.output in ("table", "wide"):
        click.echo(f"No {kind.plural} in {f'namespace {namespace}' if namespace else 'any namespace'}.", err=True)
        return
    print_objects(kind, items, target.output, all_namespaces, one=len(names) == 1)


@click.command("describe")
@click.argument("what", nargs=-1, required=True, metavar="KIND [NAME]...")
@command
async def describe(backend: Backend, target: Target, what: tuple[str, ...]) -> None:
    """Everything about objects: spec, what was observed, conditions, events.

    \b
    Example: ropctl describe camera front-door
    Exit codes: 0; 1 when one is not there or nothing answers; 64 usage.
    """
    kind, names = parse_names(what)
    namespace = await effective_namespace(backend, target)
    if names:
        items = [await fetch(backend, Ref(kind.kind, namespace, name)) for name in names]
    else:
        items = list(await backend.list(kind.kind, namespace))
    for number, item in enumerate(items):
        if number:
            click.echo()
        rows = await backend.events(namespace, ref_of(item))
        for line in describe_lines(item, rows, datetime.now(UTC)):
            click.echo(line)


@click.command("events")
@click.argument("what", nargs=-1, metavar="[KIND NAME]")
@click.option("--all-namespaces", "-A", is_flag=True, help="Of every namespace.")
@command
async def events(backend: Backend, target: Target, what: tuple[str, ...], all_namespaces: bool) -> None:
    """What happened, oldest first.

    \b
    Examples: ropctl events
              ropctl events camera front-door
    Exit codes: 0; 1 when nothing answers; 64 usage.
    """
    namespace = None if all_namespaces else await effective_namespace(backend, target)
    ref = None
    if what:
        kind, names = parse_names(what)
        if len(names) != 1 or namespace is None:
            raise click.UsageError("give KIND and NAME, without --all-namespaces")
        ref = Ref(kind.kind, namespace, names[0])
    print_events(await backend.events(namespace, ref), target.output)


@click.command("doctor")
@command
async def doctor(backend: Backend, target: Target) -> int:
    """Check that the engine works and which objects need a person.

    \b
    Example: ropctl doctor
    Exit codes: 0 all good; 1 something is not; 64 usage.
    """
    checks = await checks_of(backend, target.namespace)
    if target.output in ("json", "yaml"):
        print_data({"items": [check.as_json() for check in checks]}, target.output)
    else:
        rows = [["ok" if c.good else "FAIL", c.name, safe(c.message)] for c in checks]
        print_table(["RESULT", "CHECK", "MESSAGE"], rows)
        for check in checks:
            if check.remedy and not check.good:
                click.echo(f"{check.name}: {safe(check.remedy)}")
    return 0 if all(check.good for check in checks) else EXIT_ERROR


async def checks_of(backend: Backend, namespace: str | None) -> list[Check]:
    """The engine's checks, and one of each object."""
    checks = list(await backend.checks(namespace))
    if checks and checks[0].good:
        namespace = namespace or await backend.namespace()
        for kind in KINDS:
            try:
                checks += [_object_check(item) for item in await backend.list(kind.kind, namespace)]
            except PortError as error:
                checks.append(Check(kind.plural, False, error.message))
    return checks


def _object_check(item: Object) -> Check:
    ref = ref_of(item)
    for type_, good in (("Accepted", "True"), ("Stalled", "False"), ("Ready", "True")):
        found = condition(item, type_)
        if found and found.get("status") != good:
            message = f"{type_}={found.get('status')} {found.get('reason', '')}: {found.get('message', '')}"
            return Check(
                str(ref), False, message, f"ropctl -n {ref.namespace} describe {ref.kind.lower()} {ref.name}"
            )
    if not condition(item, "Ready"):
        return Check(str(ref), False, "no conditions: the engine has not looked at it")
    return Check(str(ref), True, str(condition(item, "Ready").get("reason", "")))
