"""The commands `rop-server drill-camera ...`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from rop_data import atomic
from rop_data.archive.errors import ArchiveError
from rop_data.drill import FILE, WITNESS, DrillCamera, enrol
from rop_data.layout import DataDir
from rop_pki import Issued
from rop_server.offline import DATA
from rop_server.state.database import open_database, transaction

EX_DATAERR, EX_CANTCREAT = 65, 73


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A drill camera and its certificate."""

    camera: DrillCamera
    issued: Issued

    def document(self, path: Path) -> dict[str, str]:
        """For people and programs; no secret."""
        return {
            "path": str(path),
            "uid": self.camera.uid,
            "host": self.camera.host,
            "notAfter": self.issued.not_after.isoformat(),
            "signer": self.camera.site_signer,
            "rootSHA256": self.camera.root_sha256,
        }


@click.group("drill-camera")
def drill_camera_group() -> None:
    """The virtual camera of recovery drills (see rop-drill)."""


@drill_camera_group.command("enrol")
@DATA
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="FOLDER",
    help=f"Where {FILE} is written: outside of DIR, readable by the drill alone.",
)
@click.option(
    "--replace", is_flag=True, help="Replace the drill camera that is there, after a change of the keys."
)
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def enrol_command(data_dir: Path, folder: Path, replace: bool, output: str) -> None:
    """Make the drill camera of DIR, served or not. Make an archive afterwards: older ones do not know it.

    Its UID is refused by every server but that of a drill. Exit codes: 65 the site is not whole, 73 FOLDER.

    Example: rop-server drill-camera enrol --data /var/lib/rop --to /etc/rop/drill
    """
    path = folder / FILE
    if folder.resolve().is_relative_to(data_dir.resolve()):
        _refuse(EX_CANTCREAT, f"{folder} lies in the data directory; a drill must do without that")
    if path.exists() and not replace:
        _refuse(EX_CANTCREAT, f"{path} exists; --replace makes a new one")
    try:
        made = Enrolled(*enrol(DataDir(data_dir), datetime.now(UTC)))
    except ArchiveError as failure:
        _refuse(EX_DATAERR, str(failure))
    _record(DataDir(data_dir), made)
    atomic.make_directory(folder)
    atomic.write(path, made.camera.encode())
    document = made.document(path)
    if output == "json":
        click.echo(json.dumps(document, indent=2))
        return
    for name, value in document.items():
        click.echo(f"{name}: {value}")


def _refuse(status: int, text: str) -> None:
    click.echo(f"rop-server: {text}", err=True)
    sys.exit(status)


def _record(directory: DataDir, made: Enrolled) -> None:
    """The certificate, and the witness on the deny list. A running server needs neither in memory."""
    issued, now = made.issued, datetime.now(UTC).timestamp()
    database = open_database(directory.state, durable=True)
    try:
        with transaction(database):
            database.execute("INSERT OR IGNORE INTO denied VALUES (?, ?)", (WITNESS, now))
            database.execute(
                "INSERT INTO certificate (uid, serial, not_after, issuer, issued_by, root, issued_at)"
                " VALUES (?, ?, ?, ?, 'Drill', ?, ?)",
                (
                    made.camera.uid,
                    issued.serial,
                    issued.not_after.timestamp(),
                    issued.issuer_key_id,
                    made.camera.root_sha256,
                    now,
                ),
            )
    finally:
        database.close()
