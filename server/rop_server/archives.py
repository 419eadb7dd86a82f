"""The commands `rop-server archive ...` and `rop-server restore`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import click

from rop_data.archive import sheet, shelf
from rop_data.archive.create import create, load
from rop_data.archive.errors import ArchiveError, Reason
from rop_data.archive.items import Include
from rop_data.archive.manifest import as_document, parse_recipients
from rop_data.archive.policy import NAME
from rop_data.archive.restore import Expectation, examine, restore
from rop_data.archive.target import DirectoryTarget
from rop_data.layout import DataDir
from rop_pki.envelope import EnvelopeError, Identities, parse_identities
from rop_server.offline import DATA

EX_USAGE, EX_DATAERR, EX_CANTCREAT = 64, 65, 73
_LIMIT = 1 << 20
_STATUS = {Reason.RECIPIENTS: EX_USAGE, Reason.TARGET: EX_CANTCREAT}

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
INCLUDE = click.option(
    "--include",
    "includes",
    multiple=True,
    metavar="NAME=FOLDER",
    help="A folder that goes into every archive: documents and secrets of a host agent, say.",
)
_OUTPUT = click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
_SIGNER = click.option("--expect-signer", metavar="HEX", help="The signer on the recovery sheet.")
_ROOT = click.option("--expect-root", metavar="SHA256", help="The root's fingerprint on the recovery sheet.")
_ACCEPT = click.option(
    "--accept-generation", type=int, metavar="N", help="Accept generation N beside a newer one in the folder."
)


def include_folders(data_dir: Path, told: tuple[str, ...]) -> tuple[Include, ...]:
    """Options `--include NAME=FOLDER`. Raises click.UsageError."""
    found: dict[str, Include] = {}
    for each in told:
        name, _, folder = each.partition("=")
        path = Path(folder).absolute()
        if not NAME.fullmatch(name) or name in found or not folder:
            raise click.UsageError(f"--include {each!r} must be NAME=FOLDER, each NAME once, in small letters")
        data = data_dir.resolve()
        if path.resolve().is_relative_to(data) or data.is_relative_to(path.resolve()):
            raise click.UsageError(f"--include {each!r} must lie outside of the data directory and not hold it")
        found[name] = Include(name, path)
    return tuple(found.values())


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except ArchiveError as failure:
        click.echo(f"rop-server: {failure}", err=True)
        sys.exit(_STATUS.get(failure.reason, EX_DATAERR))
    except EnvelopeError as failure:
        click.echo(f"rop-server: identity: {failure}", err=True)
        sys.exit(EX_DATAERR)


def _passphrase() -> str:
    answer: str = click.prompt("Passphrase of the identity file", hide_input=True, err=True)
    return answer


def _identities(file: BinaryIO) -> Identities:
    return parse_identities(file.read(_LIMIT), _passphrase)


def _identity_option(required: bool) -> Callable[[Any], Any]:
    return click.option(
        "--identity",
        type=click.File("rb"),
        required=required,
        metavar="FILE|-",
        help="age identities or an SSH private key; `-` reads them from standard input.",
    )


def _show(document: dict[str, Any], output: str) -> None:
    if output == "json":
        click.echo(json.dumps(document, indent=2))
        return
    for name, value in document.items():
        shown = ", ".join(f"{r['name']} ({r['scope']})" for r in value) if name == "recipients" else value
        click.echo(f"{name}: {shown}")


@click.group("archive")
def archive_group() -> None:
    """Encrypted, signed archives of everything that a site must never lose."""


@archive_group.command("create")
@DATA
@click.option("--to", "folder", type=_FOLDER, required=True, metavar="FOLDER", help="Where archives are kept.")
@click.option(
    "--recipients",
    type=click.File("r", encoding="utf-8"),
    required=True,
    metavar="FILE",
    help="Lines `NAME All|WithoutRootKey KEY`; KEY is age1... or an SSH public key.",
)
@click.option("--single-recipient", metavar="NAME", help="Accept that NAME alone can open the root's key.")
@INCLUDE
@_OUTPUT
def create_command(
    data_dir: Path,
    folder: Path,
    recipients: TextIO,
    single_recipient: str | None,
    includes: tuple[str, ...],
    output: str,
) -> None:
    """Make an archive of DIR, also while it is served; read it back and verify it. Overwrites nothing.

    Example: rop-server archive create --data /var/lib/rop --to /mnt/backup --recipients /etc/rop/recipients
    """
    with _errors():
        known = parse_recipients(recipients.read(_LIMIT))
        more = include_folders(data_dir, includes)
        path, header = create(DataDir(data_dir), folder, known, single_recipient, datetime.now(UTC), more)
        _show({"path": str(path), "state": "Stored", **as_document(header)}, output)


@archive_group.command("list")
@click.argument("folder", type=_FOLDER)
@_OUTPUT
def list_command(folder: Path, output: str) -> None:
    """List the archives of FOLDER, newest first, each verified as far as possible without a key.

    Exit code 65 when one of them is broken. Example: rop-server archive list /mnt/backup
    """
    with _errors():
        found = shelf.shelve(DirectoryTarget(folder))
    documents = [
        {"path": str(folder / each.name), "size": each.size, "problem": each.problem}
        | (as_document(each.header) if each.header else {})
        for each in found
    ]
    if output == "json":
        click.echo(json.dumps(documents, indent=2))
    else:
        for each in found:
            state = f"generation {each.header.generation}  {each.header.created}" if each.header else each.problem
            click.echo(f"{each.name}  {each.size}  {state}")
    if any(each.problem for each in found):
        sys.exit(EX_DATAERR)


@archive_group.command("verify")
@click.argument("archive", type=_FILE)
@_identity_option(required=False)
@_SIGNER
@_ROOT
@_ACCEPT
@_OUTPUT
def verify_command(
    archive: Path,
    identity: BinaryIO | None,
    expect_signer: str | None,
    expect_root: str | None,
    accept_generation: int | None,
    output: str,
) -> None:
    """Verify ARCHIVE: signature and hashes; with --identity every item inside as well. Exit code 65: not good.

    Example: rop-server archive verify FILE --identity - --expect-signer HEX --expect-root SHA256 < key.txt
    """
    with _errors():
        document: dict[str, Any] = as_document(load(archive).header)
        if identity is not None:
            expected = Expectation(expect_signer, expect_root, accept_generation)
            opened = examine(archive, _identities(identity), expected)
            document |= {"items": len(opened.entries), "rootKey": opened.items.root_key is not None}
        elif expect_signer not in (None, document["signer"]) or expect_root not in (None, document["rootSHA256"]):
            raise ArchiveError(
                Reason.FOREIGN_SIGNER, f"signer {document['signer']}, root {document['rootSHA256']}"
            )
    _show({"state": "Verified" if identity is None else "Opened", **document}, output)


@archive_group.command("prune")
@click.argument("folder", type=_FOLDER)
@click.option("--keep-last", type=click.IntRange(1), required=True, metavar="N")
@click.option("--keep-days", type=click.IntRange(0), required=True, metavar="DAYS")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted.")
def prune_command(folder: Path, keep_last: int, keep_days: int, dry_run: bool) -> None:
    """Delete archives that are neither among the newest N of their keys nor younger than DAYS.

    Broken archives never count and are never deleted. Example: rop-server archive prune /mnt/backup
    --keep-last 14 --keep-days 90
    """
    now = datetime.now(UTC)
    with _errors():
        if dry_run:
            gone = list(shelf.doomed(DirectoryTarget(folder), keep_last, keep_days, now))
        else:
            gone = shelf.prune(DirectoryTarget(folder), keep_last, keep_days, now)
    for name in gone:
        click.echo(folder / name)


@archive_group.command("sheet")
@click.argument("archive", type=_FILE)
def sheet_command(archive: Path) -> None:
    """Print the recovery sheet of ARCHIVE's site as HTML: print it, keep it apart from the archives.

    Example: rop-server archive sheet FILE > recovery.html
    """
    with _errors():
        folder = archive.resolve().parent
        click.echo(sheet.render(load(archive).header, (str(folder),), folder))


@click.command("restore")
@click.argument("archive", type=_FILE)
@DATA
@_identity_option(required=True)
@_SIGNER
@_ROOT
@_ACCEPT
@click.option("--without-root-key", is_flag=True, help="Accept an identity that does not open the root's key.")
@_OUTPUT
def restore_command(
    archive: Path,
    data_dir: Path,
    identity: BinaryIO,
    expect_signer: str | None,
    expect_root: str | None,
    accept_generation: int | None,
    without_root_key: bool,
    output: str,
) -> None:
    """Restore ARCHIVE into the empty or absent directory DIR. Stop the old server first.

    Everything is checked before anything is written. Exit codes: 65 the archive is refused, 73 DIR is.

    Example: rop-server restore FILE --data DIR --identity key.txt --expect-signer HEX --expect-root SHA256
    """
    with _errors():
        expected = Expectation(expect_signer, expect_root, accept_generation)
        opened = restore(archive, data_dir, _identities(identity), expected, without_root_key)
    document = {"data": str(data_dir), "items": len(opened.entries), **as_document(opened.header)}
    _show(document, output)
