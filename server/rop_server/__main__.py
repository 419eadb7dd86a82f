"""The command `rop-server`. Exit codes: 0, 64 usage, 75 busy (port, data directory), 78 configuration."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

import click
import uvloop

from rop_data.config import ConfigError
from rop_data.layout import DataDir, LockedError
from rop_data.store import prepare
from rop_pki import PkiError
from rop_server import logs
from rop_server.app import serve, utc_now
from rop_server.archives import INCLUDE, archive_group, include_folders, restore_command
from rop_server.backup.service import BackupOptions
from rop_server.drills import drill_camera_group
from rop_server.live import NotRunning, alarms_group, top_command
from rop_server.logpipe import LogPipe
from rop_server.net.listener import PortInUse
from rop_server.offline import DATA, adopt_command, check_command
from rop_server.state.tokens import SCOPES, TokenError, TokenStore
from rop_server.supervisor import Supervisor

EX_USAGE = 64
EX_TEMPFAIL = 75
EX_CONFIG = 78
LOG_LIMIT = 2.0


def _fail(status: int, text: object) -> NoReturn:
    print(f"rop-server: {text}", file=sys.stderr)
    Supervisor.of(os.environ).tell(f"STATUS={' '.join(str(text).split())}")
    sys.exit(status)


class _Group(click.Group):
    """`rop-server --data DIR` serves; a first word without dash names a subcommand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("--help", "--version")):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Group)
@click.version_option(package_name="rop-operator", prog_name="rop-server")
def cli() -> None:
    """A core server for ROP cameras. `rop-server --data DIR` runs it (same as `rop-server serve`)."""


@cli.command("serve")
@DATA
@click.option("--bind", metavar="ADDR", help="Address of the device ports [all interfaces].")
@click.option("--client-bind", metavar="ADDR", help="Address of the client ports [as in rop.json].")
@INCLUDE
@click.option("--allow-loopback", is_flag=True, help="Allow backups to an S3 service on this machine.")
@click.option(
    "--drill",
    is_flag=True,
    help="For recovery drills: loopback only, the reserved UIDs are let in, and it ends when standard input does.",
)
@click.option(
    "--gateway-sockets",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of the sockets for rop-gateway [run/gateway of the data directory].",
)
def serve_command(
    data_dir: Path,
    bind: str | None,
    client_bind: str | None,
    includes: tuple[str, ...],
    allow_loopback: bool,
    drill: bool,
    gateway_sockets: Path | None,
) -> None:
    """Serve cameras and clients until SIGTERM or SIGINT."""
    if drill and (bind or client_bind):
        raise click.UsageError("--drill serves on loopback; leave --bind and --client-bind out")
    backups = BackupOptions(include_folders(data_dir, includes), allow_loopback)
    pipe = LogPipe(sys.stdout)
    logs.configure(cast("TextIO", pipe))
    try:
        if drill:
            uvloop.run(_serve_drill(data_dir))
        else:
            uvloop.run(_serve(data_dir, bind, client_bind, backups, gateway_sockets))
    finally:
        pipe.finish(LOG_LIMIT)


async def _serve(
    data_dir: Path,
    bind: str | None,
    client_bind: str | None,
    backups: BackupOptions,
    gateway_sockets: Path | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(data_dir, bind, client_bind, stop, backups, gateway_sockets=gateway_sockets)


async def _serve_drill(data_dir: Path) -> None:
    """On loopback, until a signal or the end of standard input: a killed drill leaves no server behind."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin.fileno(), stop.set)
    try:
        await serve(data_dir, "127.0.0.1", "127.0.0.1", stop, drill=True)
    finally:
        loop.remove_reader(sys.stdin.fileno())


@cli.command()
@DATA
@click.option(
    "--patch",
    type=click.File("r", encoding="utf-8"),
    metavar="FILE|-",
    help='JSON object {"dotted.member": value}; null removes; rop.* members go to rop.json.',
)
def configure(data_dir: Path, patch: TextIO | None) -> None:
    """Prepare DIR without serving, and set members."""
    members = _members(patch) if patch is not None else {}
    directory = DataDir(data_dir)
    with directory.lock():
        prepare(directory, os.environ, utc_now(), members)


def _members(patch: TextIO) -> dict[str, Any]:
    try:
        members = json.loads(patch.read())
    except ValueError as error:
        raise click.UsageError(f"--patch is not JSON: {error}") from None
    if not isinstance(members, dict):
        raise click.UsageError("--patch must be a JSON object of dotted members")
    return members


for command in (
    *(check_command, adopt_command, alarms_group, top_command),
    *(archive_group, restore_command, drill_camera_group),
):
    cli.add_command(command)


@cli.group()
def token() -> None:
    """Tokens of the management interface over TLS."""


@token.command("create")
@DATA
@click.option("--scope", type=click.Choice(SCOPES), required=True)
@click.option("--name", default="default", show_default=True)
def token_create(data_dir: Path, scope: str, name: str) -> None:
    """Make a token and print it: it cannot be shown again."""
    store = _tokens(data_dir)
    click.echo(store.create(name, scope, time.time()))
    store.close()


@token.command("list")
@DATA
def token_list(data_dir: Path) -> None:
    """List tokens without their secrets."""
    store = _tokens(data_dir)
    for each in store.tokens():
        click.echo(f"{each.name}\t{each.scope}")
    store.close()


@token.command("revoke")
@DATA
@click.option("--name", required=True)
def token_revoke(data_dir: Path, name: str) -> None:
    """Delete a token; a running server refuses it at once."""
    store = _tokens(data_dir)
    store.revoke(name)
    store.close()


def _tokens(data_dir: Path) -> TokenStore:
    directory = DataDir(data_dir)
    if not directory.config.is_file():
        raise ConfigError("--data", "a prepared data directory", str(data_dir))
    return TokenStore.open(directory.state)


def main() -> None:
    """Entry point."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(EX_USAGE)
    except TokenError as error:
        _fail(EX_USAGE, error)
    except (PortInUse, LockedError, NotRunning) as error:
        _fail(EX_TEMPFAIL, error)
    except (ConfigError, PkiError) as error:
        _fail(EX_CONFIG, error)
    except OSError as error:  # the data directory cannot be read or written
        _fail(EX_TEMPFAIL, error)


if __name__ == "__main__":
    main()
