"""Every camera that was ever seen: `get cameras --all`, `discover --import`; and `export`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from rop_operator.api.facts import DeviceFacts, Found, Ref
from rop_operator.api.registry import API_VERSION, KINDS
from rop_operator.cli.backend import NOISE, Backend, Object, ref_of
from rop_operator.cli.preview import document_of
from rop_operator.cli.show import age, print_data, print_table, safe
from rop_operator.cli.target import Target, command, effective_namespace
from rop_operator.domain.inventory import Entry, imported, inventory
from rop_operator.ports import PortError

HEADINGS = ("UID", "CLAIM", "CAMERA", "SERVER", "STATE", "SINCE", "ADDRESS", "MODEL", "FIRMWARE")


async def entries(backend: Backend, namespace: str | None, found: Sequence[Found]) -> list[Entry]:
    """The inventory of a namespace, or of all. What a server cannot be asked is said on standard error."""
    devices: dict[Ref, Sequence[DeviceFacts]] = {}
    for item in await backend.list("RopServer", namespace):
        server = ref_of(item)
        try:
            devices[server] = await backend.devices(server)
        except PortError as error:
            click.echo(f"{server}: only what its Cameras remember: {safe(error.message)}", err=True)
    cameras = [document_of(item) for item in await backend.list("Camera", namespace)]
    return inventory(cameras, devices, found)


async def print_inventory(backend: Backend, target: Target, namespace: str | None, seconds: float) -> None:
    """`get cameras --all`."""
    found: Sequence[Found] = ()
    try:
        found = await backend.discover(seconds) if seconds else ()
    except PortError as error:
        click.echo(f"without the LAN: {safe(error.message)}", err=True)
    rows = await entries(backend, namespace, found)
    if target.output in ("json", "yaml"):
        print_data({"items": [entry.as_json() for entry in rows]}, target.output)
    else:
        print_table(HEADINGS, [_row(entry, datetime.now(UTC)) for entry in rows])


def _row(entry: Entry, now: datetime) -> list[str]:
    told = (
        entry.claim,
        entry.camera.name if entry.camera else "-",
        entry.server.name if entry.server else "-",
        entry.state,
        age(entry.since.isoformat() if entry.since else None, now),
        *(safe(value) if value else "-" for value in (entry.address, entry.model, entry.firmware)),
    )
    return [safe(entry.uid), *told]


async def import_cameras(
    backend: Backend, target: Target, folder: Path, server: str | None, found: Sequence[Found]
) -> None:
    """`discover --import`: a file for each camera without a Camera. Writes files, and to no device; files that are
    there stay as they are.
    """
    from rop_operator.adapters.host_files import document_text, write_file

    namespace = await effective_namespace(backend, target)
    only = await only_server(backend, namespace, server)
    results = []
    for entry in await entries(backend, namespace, found):
        belongs = entry.server or only
        if entry.claim == "Claimed" or (server is not None and belongs.name != server):
            continue
        document = imported(entry, belongs)
        path = folder / f"{document['metadata']['name']}.yaml"
        kept = path.exists()
        if not kept:
            write_file(path, document_text(document))
        results.append({"file": str(path), "claim": entry.claim, "result": "kept" if kept else "written"})
    _print_files(results, target.output)
    if not results and target.output in ("table", "wide"):
        click.echo("Every camera that was seen has a Camera.", err=True)


async def only_server(backend: Backend, namespace: str, name: str | None) -> Ref:
    """The RopServer of this name; without one, the only one of the namespace."""
    names = [item["metadata"]["name"] for item in await backend.list("RopServer", namespace)]
    if name is not None and name not in names:
        raise PortError("ServerNotFound", f"there is no RopServer {name} in namespace {namespace}")
    if name is None and len(names) != 1:
        known = ", ".join(names) or "none"
        raise PortError(
            "ServerNotFound", f"which RopServer ({known} in namespace {namespace})? Give --server NAME"
        )
    return Ref("RopServer", namespace, name or names[0])


def _print_files(results: Sequence[Mapping[str, str]], output: str) -> None:
    if output in ("json", "yaml"):
        print_data({"items": list(results)}, output)
        return
    for row in results:
        click.echo(f"{row['file']} {row['result']}")


def exported(item: Object) -> dict[str, Any]:
    """An object as a document to apply again, in one order of members wherever it comes from."""
    given, ref = item["metadata"], ref_of(item)
    metadata: dict[str, Any] = {"name": ref.name, "namespace": ref.namespace}
    annotations = {k: v for k, v in (given.get("annotations") or {}).items() if k not in NOISE}
    for name, value in (("labels", given.get("labels")), ("annotations", annotations)):
        if value:
            metadata[name] = _ordered(value)
    return {"apiVersion": API_VERSION, "kind": ref.kind, "metadata": metadata, "spec": _ordered(item["spec"])}


def _ordered(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(inner) for inner in value] if isinstance(value, list) else value


@click.command("export")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="One file each here [default: print them].")
@click.option("--all-namespaces", "-A", is_flag=True, help="Of every namespace.")
@command
async def export(backend: Backend, target: Target, folder: Path | None, all_namespaces: bool) -> None:
    """The documents as they are, to apply again elsewhere; equal documents give equal bytes. Without status and
    secrets; objects that are being deleted are left out.

    \b
    Examples: ropctl export --dir fleet
              ropctl -n video export | ropctl --context prod -n video apply -f -
    Exit codes: 0; 1 when nothing answers or a file cannot be written; 64 usage.
    """
    from rop_operator.adapters.host_files import document_text, write_file

    namespace = None if all_namespaces else await effective_namespace(backend, target)
    items = [item for kind in KINDS for item in await backend.list(kind.kind, namespace)]
    documents = [exported(item) for item in items if not item["metadata"].get("deletionTimestamp")]
    if folder is None:
        click.echo("---\n".join(document_text(document) for document in documents), nl=False)
        return
    results = []
    for document in documents:
        ref = ref_of(document)
        path, text = folder / f"{ref.namespace}.{ref.kind.lower()}.{ref.name}.yaml", document_text(document)
        same = path.exists() and path.read_text(encoding="utf-8") == text
        if not same:
            write_file(path, text)
        results.append({"file": str(path), "result": "unchanged" if same else "written"})
    _print_files(results, target.output)
