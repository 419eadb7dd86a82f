"""Commands on a data directory that nobody serves: `rop-server check` and `rop-server adopt`."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from rop_data.adopt import adopt
from rop_data.examine import ERROR, OK, Finding, examine
from rop_data.layout import DataDir
from rop_server.state.database import FORMAT_VERSION

EX_CONFIG = 78
DATA = click.option(
    "--data",
    "data_dir",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="The data directory: config.json, certs/ and our own files.",
)


@click.command("check")
@DATA
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check_command(data_dir: Path, as_json: bool) -> None:
    """Examine DIR and say what a start would change. Writes nothing; exit code 78 when a start would fail."""
    directory = DataDir(data_dir)
    found = [*examine(directory, os.environ, datetime.now(UTC)), *_databases(directory)]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            click.echo(f"{finding.level:<8} {finding.subject}: {finding.text}")
    if any(finding.level == ERROR for finding in found):
        sys.exit(EX_CONFIG)


def _databases(directory: DataDir) -> Iterator[Finding]:
    """The databases, opened for reading alone."""
    for path, newest in ((directory.state, FORMAT_VERSION), (directory.alarms, 0)):
        if not path.is_file():
            continue
        try:
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            try:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                told = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            finally:
                connection.close()
        except sqlite3.Error as error:
            yield Finding(ERROR, path.name, f"cannot be read: {error}")
            continue
        if version > newest:
            yield Finding(ERROR, path.name, f"has format {version}, this program knows {newest} at most")
        elif told != "ok":
            yield Finding(ERROR, path.name, f"is damaged: {told}")
        else:
            yield Finding(OK, path.name, "can be read")


@click.command("adopt")
@click.option(
    "--vendor",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="The data directory of the vendor's server, which must not run. It is only read.",
)
@DATA
def adopt_command(vendor: Path, data_dir: Path) -> None:
    """Copy a vendor server's directory to DIR and verify the copy."""
    told = adopt(vendor, data_dir)
    click.echo(f"copied      {told.files} files, every one compared")
    click.echo(f"serverHost  {told.host}")
    click.echo(f"root        SHA-256 {told.root_sha256}, signs the L2 CA of the copy")
    click.echo(f"caHash      {told.ca_hash}")
    click.echo(f"keys        signKey and {len(told.key_indexes)} device keys are the same")
    click.echo(f"next        rop-server check --data {data_dir}")
