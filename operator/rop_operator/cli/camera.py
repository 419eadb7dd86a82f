"""`ropctl camera onboard`: a list of cameras becomes documents, and is followed until each one is online."""

from __future__ import annotations

import asyncio
import csv
import io
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from rop_operator.api.facts import Ref
from rop_operator.cli.backend import ApplyRefused, Backend, Object
from rop_operator.cli.inventory import only_server
from rop_operator.cli.lan import ONE_WAY
from rop_operator.cli.show import print_data, print_table, safe
from rop_operator.cli.target import EXIT_ERROR, Target, command, effective_namespace
from rop_operator.documents import YamlError, read_yaml
from rop_operator.domain.onboarding import Result, Row, document, read_rows, result_of, with_uids
from rop_operator.errors import DocumentError, DocumentsRefused

POLL = 0.5
LAN_SECONDS = 3.0


@click.group("camera")
def camera() -> None:
    """What a person does with cameras beside their documents.

    \b
    Example: ropctl camera onboard --from cameras.csv
    """


@camera.command("onboard")
@click.option(
    "--from", "source", type=click.Path(path_type=Path), required=True, help="The list: .csv, .yaml, .yml."
)
@click.option("--server", metavar="NAME", help="Their RopServer [default: the only one].")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option(
    "--timeout", default=600.0, show_default=True, metavar="SECONDS", help="Follow them so long; 0: do not."
)
@command
async def onboard(
    backend: Backend, target: Target, source: Path, server: str | None, yes: bool, timeout: float
) -> int:
    """Set up a list of cameras. ONE-WAY: the vendor's app no longer reaches them.

    Columns: uid, address, port, name, displayName, labels (key=value;key=value). A row has uid, address or both.
    One wrong row, and nothing is done. The engine sets up several at a time and keeps a journal of each: after an
    interruption run it again with the same list; nobody is set up twice. A row without an address needs a QR code.

    \b
    Example: ropctl camera onboard --from cameras.csv
    Exit codes: 0 all are online; 1 a row is wrong, or some are not online; 64 usage.
    """
    rows = read_rows(_items(source), str(source))
    namespace = await effective_namespace(backend, target)
    home = await only_server(backend, namespace, server)
    found = await backend.discover(LAN_SECONDS) if any(row.uid is None for row in rows) else ()
    rows, silent = with_uids(rows, found)
    documents = await _documents(backend, rows, home)
    if not yes:
        click.echo(ONE_WAY, err=True)
        click.confirm(f"Set up {len(rows)} cameras?", abort=True, err=True)
    try:
        await backend.apply(documents, str(source), False)
    except ApplyRefused as refused:
        raise DocumentsRefused(
            [_error(source, refusal.rule, refusal.field) for refusal in refused.refusals]
        ) from None
    refs = {
        row.number: Ref("Camera", namespace, d["metadata"]["name"]) for row, d in zip(rows, documents, strict=True)
    }
    results = await _follow(backend, rows, refs, timeout)
    results |= {number: Result("Failed", "CameraSilent", why) for number, why in silent.items()}
    return _print(results, refs, {row.number: row for row in rows}, target.output)


def _error(source: Path, rule: str, field: str = "", remedy: str = "") -> DocumentError:
    return DocumentError(str(source), "", field, rule, remedy)


def _items(source: Path) -> list[Mapping[str, Any]]:
    """The rows of the file as mappings. DocumentsRefused."""
    if source.suffix not in (".csv", ".yaml", ".yml"):
        raise click.UsageError("--from takes a .csv, .yaml or .yml file")
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentsRefused([_error(source, f"cannot be read: {error}")]) from None
    if source.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text), restkey="more than the columns", skipinitialspace=True)
        return [{k: v.strip() if isinstance(v, str) else v for k, v in row.items()} for row in reader]
    try:
        value = next((value for _, value in read_yaml(text)), None)
    except YamlError as error:
        raise DocumentsRefused([_error(source, f"line {error.line}: {error.rule}", remedy=error.remedy)]) from None
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise DocumentsRefused([_error(source, "not a list of rows", remedy="write - {uid: ..., address: ...}")])
    return value


async def _documents(backend: Backend, rows: Sequence[Row], home: Ref) -> list[Object]:
    """Their Cameras; what an existing one says beyond the row stays."""
    items = await backend.list("Camera", home.namespace)
    known = {(i["spec"]["serverRef"]["name"], i["spec"]["uid"]): i for i in items}
    documents = []
    for row in rows:
        stored = known.get((home.name, str(row.uid)))
        made = document(row, home.name, home.namespace, stored["metadata"]["name"] if stored else None)
        if stored is not None and stored["metadata"]["name"] == made["metadata"]["name"]:
            labels = {**(stored["metadata"].get("labels") or {}), **made["metadata"].get("labels", {})}
            made["metadata"] |= {"labels": labels} if labels else {}
            made["spec"] = {**stored["spec"], **made["spec"], **_kept_attempt(stored)}
        documents.append(made)
    return documents


def _kept_attempt(stored: Object) -> dict[str, Any]:
    """A set-up that the document asks for already is not asked for again."""
    return {"provision": stored["spec"]["provision"]} if stored["spec"].get("provision") else {}


async def _follow(
    backend: Backend, rows: Sequence[Row], refs: Mapping[int, Ref], timeout: float
) -> dict[int, Result]:
    """Results by row number: when all are final, or when the time is over."""
    deadline, told = time.monotonic() + timeout, ""
    while True:
        items = {
            i["metadata"]["name"]: i for i in await backend.list("Camera", next(iter(refs.values())).namespace)
        }
        results = {row.number: result_of(row, _conditions(items.get(refs[row.number].name))) for row in rows}
        counted = [sum(r.result == word for r in results.values()) for word in ("Online", "Failed", "NeedsQR")]
        line = f"{counted[0]} of {len(rows)} online, {counted[1]} failed, {counted[2]} need a QR code"
        if line != told:
            click.echo(f"\r{line}" if sys.stderr.isatty() else line, err=True, nl=not sys.stderr.isatty())
            told = line
        if all(result.final for result in results.values()) or time.monotonic() > deadline:
            if sys.stderr.isatty():
                click.echo(err=True)
            return results
        await asyncio.sleep(POLL)


def _conditions(item: Object | None) -> dict[str, Mapping[str, Any]]:
    found = ((item or {}).get("status") or {}).get("conditions") or ()
    return {condition["type"]: condition for condition in found}


def _print(results: Mapping[int, Result], refs: Mapping[int, Ref], rows: Mapping[int, Row], output: str) -> int:
    told = [
        {
            "row": number,
            "uid": rows[number].uid if number in rows else None,
            "camera": refs[number].name if number in refs else None,
            "result": result.result,
            "reason": result.reason,
            "message": result.message,
        }
        for number, result in sorted(results.items())
    ]
    if output in ("json", "yaml"):
        print_data({"items": told}, output)
    else:
        cells = [[safe(str(value)) if value else "-" for value in row.values()] for row in told]
        print_table(("ROW", "UID", "CAMERA", "RESULT", "REASON", "MESSAGE"), cells)
    return 0 if all(result.result == "Online" for result in results.values()) else EXIT_ERROR
