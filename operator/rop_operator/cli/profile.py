"""`ropctl profile preview`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from rop_operator.adapters.clock import SystemClock
from rop_operator.api.facts import Ref
from rop_operator.api.registry import KINDS
from rop_operator.cli.backend import Backend
from rop_operator.cli.preview import document_of, plan_json, without_defaults, written
from rop_operator.cli.show import print_data, print_table, safe
from rop_operator.cli.sources import read_fleet
from rop_operator.cli.target import EXIT_CHANGES, Target, command, effective_namespace
from rop_operator.documents import Parsed
from rop_operator.domain.describe import totals
from rop_operator.domain.preview import change_of, transition_errors
from rop_operator.domain.profile_preview import Concerned, concerned
from rop_operator.errors import DocumentsRefused
from rop_operator.ports import PortError

HEADINGS = ("CAMERA", "FIELD", "VALUE", "SOURCE", "MODE", "SEEN", "CHANGE")


@click.group("profile")
def profile() -> None:
    """Settings for many cameras."""


@profile.command("preview")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--filename", "-f", "files", multiple=True, metavar="FILE", help="As these documents would make it.")
@command
async def preview(backend: Backend, target: Target, names: tuple[str, ...], files: tuple[str, ...]) -> int:
    """The cameras that CameraProfiles mean: each setting with its source, and the writes and wakes to come.

    With -f as if the documents were applied (NAME: only those profiles of them), without as they are stored.

    \b
    Examples: ropctl profile preview yard
              ropctl profile preview -f yard.yaml
    Exit codes: 0 nothing would change; 2 changes; 1 a document is bad or nothing answers; 64 usage.
    """
    namespace = await effective_namespace(backend, target)
    fleet = read_fleet(files, namespace) if files else None
    asked = fleet.documents if fleet is not None else ()
    items = [item for row in KINDS for item in await backend.list(row.kind, namespace)]
    given = {parsed.ref for parsed in asked}
    stored = [written(item) for item in items if item["kind"] == "Camera"]
    new = (*asked, *(parsed for parsed in stored if parsed.ref not in given))
    by_ref = {parsed.ref: parsed for parsed in new}
    current = [without_defaults(document, by_ref.get(document.ref)) for document in map(document_of, items)]
    if errors := transition_errors(asked, current):
        raise DocumentsRefused(errors)
    known = {d.ref for d in current} | given
    found = concerned(new, current, _chosen(names, asked, known, namespace), SystemClock().now())
    _print(found, target.output)
    before = {document.ref: document for document in current}
    changed = any(change_of(parsed, before.get(parsed.ref)) != "unchanged" for parsed in asked)
    return EXIT_CHANGES if changed or any(each.plan.actions or each.plan.later for each in found) else 0


def _chosen(names: Sequence[str], asked: Sequence[Parsed], known: set[Ref], namespace: str) -> list[Ref]:
    """The profiles that are meant: those named, else those of the documents."""
    if names:
        refs = [Ref("CameraProfile", namespace, name) for name in names]
        missing = [ref.name for ref in refs if ref not in known]
        if missing:
            raise PortError("NotFound", f"there is no CameraProfile {missing[0]} in namespace {namespace}")
        return refs
    refs = [parsed.ref for parsed in asked if parsed.ref.kind == "CameraProfile"]
    if not refs:
        raise click.UsageError("give the NAME of a CameraProfile, or -f FILE with one")
    return refs


def _print(found: Sequence[Concerned], output: str) -> None:
    if output in ("json", "yaml"):
        print_data({"cameras": [_json(each) for each in found]}, output)
        return
    if found:
        print_table(HEADINGS, [row for each in found for row in _table(each)])
    else:
        click.echo("These profiles select no camera.", err=True)
    for each in found:
        for conflict in each.conflicts:
            click.echo(f"! {safe(each.camera.name)}: ProfileConflict: {safe(str(conflict))}")
    click.echo(totals([each.plan for each in found]))


def _table(each: Concerned) -> list[list[str]]:
    name = each.camera.name
    shown = [
        [name, row.field, safe(row.value), row.source, row.mode, safe(row.seen or "-"), safe(each.change(row))]
        for row in each.rows
    ]
    dropped = [[name, row.field, "-", "-", "-", safe(row.seen or "-"), "no longer wanted"] for row in each.dropped]
    return [*shown, *dropped]


def _json(each: Concerned) -> dict[str, Any]:
    fields = [
        {
            "field": row.field,
            "value": row.value,
            "source": row.source,
            "mode": row.mode,
            "seen": row.seen,
            "change": each.change(row) or None,
        }
        for row in each.rows
    ]
    told = plan_json(each.camera, "unchanged", each.plan)
    return {
        "camera": str(each.camera),
        "fields": fields,
        "dropped": [row.field for row in each.dropped],
        "conflicts": [str(conflict) for conflict in each.conflicts],
        "actions": told["actions"],
        "later": told["later"],
    }
