"""`ropctl backup`: archives of a server: made, listed, read back, brought here, pruned; `ropctl restore`."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import click

from rop_operator.api.questions import Question
from rop_operator.cli.backend import Backend
from rop_operator.cli.drill import beside
from rop_operator.cli.inventory import only_server
from rop_operator.cli.show import print_data, print_table, safe
from rop_operator.cli.target import Target, command, effective_namespace
from rop_operator.ports import PortError

PAUSE = 0.5
MAX_CREDENTIALS = 65536
SERVER = click.option("--server", metavar="NAME", help="The RopServer [default: the only one].")
TARGET = click.option("--target", "place", metavar="NAME", help="A target of spec.backup [default: the only one].")


async def _ask(backend: Backend, target: Target, server: str | None, question: Question) -> Mapping[str, Any]:
    home = await only_server(backend, await effective_namespace(backend, target), server)
    return await backend.ask(home, question)


def _printed(target: Target, told: Mapping[str, Any]) -> bool:
    """Print it for programs when that was asked for."""
    if target.output in ("json", "yaml"):
        print_data(dict(told), target.output)
        return True
    return False


def _text(value: object) -> str:
    return "-" if value is None else safe(str(value))


@click.group("backup")
def backup() -> None:
    """Archives of everything that a server must never lose. Who opens them is in spec.backup of its RopServer."""


@backup.command("status")
@SERVER
@command
async def status(backend: Backend, target: Target, server: str | None) -> None:
    """Each target: whether the present keys are in an archive there, the newest one, and what is wrong.

    \b
    Example: ropctl backup status
    Exit codes: 0; 1 when the present keys are in no archive, or nothing answers; 64 usage.
    """
    told = await _ask(backend, target, server, Question("Backup"))
    if not _printed(target, told):
        rows = [
            [
                _text(each["name"]),
                _text(each["place"]),
                "yes" if each["covered"] else "NO",
                _text((each["stored"] or {}).get("name")),
                _text((each["stored"] or {}).get("state")),
                _text((each["problem"] or {}).get("reason")),
            ]
            for each in told["targets"]
        ]
        print_table(["TARGET", "PLACE", "COVERED", "NEWEST", "STATE", "PROBLEM"], rows)
        click.echo(f"the present keys are {'' if told['covered'] else 'NOT '}in a verified archive")
    if not told["covered"]:
        raise click.exceptions.Exit(1)


@backup.command("create")
@click.option("--target", "places", multiple=True, metavar="NAME", help="This target only; repeatable.")
@click.option("--keep-forever", is_flag=True, help="No prune deletes it.")
@SERVER
@command
async def create(
    backend: Backend, target: Target, server: str | None, places: tuple[str, ...], keep_forever: bool
) -> None:
    """Make an archive now and wait until it was read back from each target.

    \b
    Examples: ropctl backup create
              ropctl backup create --target offsite --keep-forever
    Exit codes: 0 stored on every target; 1 otherwise; 64 usage.
    """
    id_ = f"ropctl-{uuid4().hex[:12]}"
    given: dict[str, Any] = {"id": id_, "retain": "Forever" if keep_forever else "ByPolicy"}
    given |= {"targets": list(places)} if places else {}
    told = await _ask(backend, target, server, Question("MakeArchive", given))
    shown: set[str] = set()
    while True:
        for each in told["targets"]:
            if each["state"] != "Pending" and each["name"] not in shown:
                shown.add(each["name"])
                click.echo(_outcome(each), err=True)
        if told["state"] != "Pending":
            break
        await asyncio.sleep(PAUSE)
        told = await _ask(backend, target, server, Question("ArchiveRun", {"id": id_}))
    if not _printed(target, told):
        click.echo(_text(told["archive"]))
    if told["state"] != "Complete":
        raise click.exceptions.Exit(1)


def _outcome(told: Mapping[str, Any]) -> str:
    message = f": {safe(str(told['message']))}" if told["message"] else ""
    return f"{safe(told['name'])}: {told['state']}{message}"


@backup.command("list")
@TARGET
@SERVER
@command
async def list_(backend: Backend, target: Target, server: str | None, place: str | None) -> None:
    """The archives that the targets have now, newest first.

    \b
    Example: ropctl backup list --target offsite
    Exit codes: 0; 1 when a target does not answer; 64 usage.
    """
    given = {"target": place} if place is not None else {}
    told = await _ask(backend, target, server, Question("Archives", given))
    if not _printed(target, told):
        names = ("target", "name", "generation", "created", "size", "state", "retain")
        rows = [[_text(each[name]) for name in names] for each in told["items"]]
        print_table([name.upper() for name in names], rows)


@backup.command("verify")
@click.argument("archive")
@TARGET
@SERVER
@command
async def verify(backend: Backend, target: Target, server: str | None, archive: str, place: str | None) -> None:
    """Read ARCHIVE back from its target once more; its signature and hashes must hold.

    Whether it can be opened, and whether cameras can live on it, is what a drill shows (`rop-drill run`).

    \b
    Example: ropctl backup verify rop-1a2b3c4d-g0003-20261127T030000Z.rop
    Exit codes: 0; 1 not whole, not this site's, or not there; 64 usage.
    """
    given = {"name": archive, "target": await _place(backend, target, server, place)}
    told = await _ask(backend, target, server, Question("VerifyArchive", given))
    if not _printed(target, told):
        click.echo(f"{_text(told['name'])}: {told['state']}, generation {told['generation']}")


@backup.command("export")
@click.argument("archive", required=False)
@click.option("--to", "path", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE")
@TARGET
@SERVER
@command
async def export(
    backend: Backend, target: Target, server: str | None, archive: str | None, place: str | None, path: Path
) -> None:
    """Bring ARCHIVE (the newest, when it is left out) from its target into FILE. It stays encrypted.

    \b
    Example: ropctl backup export --to /media/usb/home.rop
    Exit codes: 0; 1 when it is not there, or FILE exists; 64 usage.
    """
    place = await _place(backend, target, server, place)
    if archive is None:
        listed = await _ask(backend, target, server, Question("Archives", {"target": place}))
        if not listed["items"]:
            raise PortError("ArchiveUnknown", f"target {place} has no archive yet; make one: ropctl backup create")
        archive = str(listed["items"][0]["name"])
    told = await _ask(backend, target, server, Question("Archive", {"name": archive, "target": place}))
    data = base64.b64decode(told["data"])
    _write_new(path, data)
    if not _printed(target, {"archive": archive, "target": place, "file": str(path), "size": len(data)}):
        click.echo(f"{safe(archive)}: {len(data)} bytes in {path}")


def _write_new(path: Path, data: bytes) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise PortError("FileExists", f"{path} exists already; name another --to") from None
    except OSError as error:
        raise PortError("NotWritable", f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise PortError("NotWritable", f"{path} cannot be written: {error.strerror}") from None


@backup.command("prune")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted.")
@click.option(
    "--credentials",
    type=click.File("r", encoding="utf-8"),
    metavar="FILE|-",
    help='For a bucket: JSON {"accessKey": ..., "secretKey": ...}; used once and not kept.',
)
@TARGET
@SERVER
@command
async def prune(
    backend: Backend,
    target: Target,
    server: str | None,
    place: str | None,
    dry_run: bool,
    credentials: TextIO | None,
) -> None:
    """Delete what spec.backup.retention no longer wants; never the last good archive of a generation of keys.

    Directories are pruned after every archive by themselves. The server's own credentials of a bucket only add.

    \b
    Examples: ropctl backup prune --target disk --dry-run
              ropctl backup prune --target offsite --credentials - < pruner.json
    Exit codes: 0; 1 when the target refuses; 64 usage.
    """
    given: dict[str, Any] = {"dryRun": dry_run}
    if credentials is not None:
        try:
            given["credentials"] = json.loads(credentials.read(MAX_CREDENTIALS))
        except ValueError:
            raise click.UsageError("--credentials is no JSON") from None
    given["target"] = await _place(backend, target, server, place)
    told = await _ask(backend, target, server, Question("PruneArchives", given))
    if not _printed(target, told):
        for name in told["deleted"]:
            click.echo(f"{safe(name)} {'would be ' if dry_run else ''}deleted")


@backup.command("sheet")
@SERVER
@command
async def sheet(backend: Backend, target: Target, server: str | None) -> None:
    """The recovery sheet as HTML: print it, and keep it apart from the archives and from the identities.

    It holds no secret: the fingerprint of the root, the signer, who can open the archives, where they are, and the
    commands of a restore.

    \b
    Example: ropctl backup sheet > recovery.html
    Exit codes: 0; 1 when no archive is stored yet; 64 usage.
    """
    told = await _ask(backend, target, server, Question("RecoverySheet"))
    page = base64.b64decode(told["data"]).decode()
    if not _printed(target, {"html": page}):
        click.echo(page)


async def _place(backend: Backend, target: Target, server: str | None, place: str | None) -> str:
    """The target of this name; without one, the only one."""
    if place is not None:
        return place
    names = [str(each["name"]) for each in (await _ask(backend, target, server, Question("Backup")))["targets"]]
    if len(names) != 1:
        known = ", ".join(names) or "none; set spec.backup of the RopServer"
        raise PortError("TargetUnknown", f"which target ({known})? Give --target NAME")
    return names[0]


@click.command("restore", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def restore(arguments: tuple[str, ...]) -> None:
    """Restore an archive into an empty directory; needs no agent (`rop-server restore`).

    \b
    Example: ropctl restore FILE --data DIR --identity key.txt --expect-signer HEX --expect-root SHA256
    Exit codes: those of `rop-server restore`; `ropctl restore --help` lists them.
    """
    found = beside("rop-server")
    os.execv(found, [found, "restore", *arguments])  # noqa: S606 - no shell, the words as they are
