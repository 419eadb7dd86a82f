"""The command `rop-gateway`. Exit codes: 0, 64 usage, 69 nginx cannot be used, 75 busy, 78 configuration."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click

from rop_gateway import loglines
from rop_gateway.certificates import placeholder, read_pair
from rop_gateway.config import ConfigError, Gateway, load
from rop_gateway.folder import Folder
from rop_gateway.nginx import NginxError, find_nginx, try_out
from rop_gateway.pair import Pair, Problem, examine
from rop_gateway.passwords import entry
from rop_gateway.render import render
from rop_gateway.service import Busy, Service, locked, read_passwords
from rop_gateway.systemd import feed_watchdog

EX_USAGE, EX_UNAVAILABLE, EX_TEMPFAIL, EX_CONFIG = 64, 69, 75, 78


def _fail(status: int, text: object) -> NoReturn:
    print(f"rop-gateway: {text}", file=sys.stderr)
    sys.exit(status)


CONFIG = click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="The gateway's document, YAML or JSON.",
)


@click.group()
@click.version_option(package_name="rop-operator", prog_name="rop-gateway")
def cli() -> None:
    """The gateway of a core server: HTTPS and RTSPS by nginx, and the answer to who may call.

    \b
    Example: rop-gateway check --config /etc/rop/gateway.yaml && rop-gateway run --config /etc/rop/gateway.yaml
    Exit codes: 0; 64 usage; 69 nginx is missing or unfit; 75 another one runs; 78 the document or what it names.
    """


@cli.command("render")
@CONFIG
def render_command(path: Path) -> None:
    """Print the configuration of nginx."""
    document = load(path)
    place = None if document.external else Folder(document.directory).pairs / "SERIAL"
    click.echo(render(document, find_nginx(), place), nl=False)


@cli.command("check")
@CONFIG
def check_command(path: Path) -> None:
    """Examine the document and every file it names, and let nginx test the configuration. Changes nothing."""
    document = load(path)
    users = read_passwords(document)
    missing = [each.user for each in document.access if each.user is not None and each.user not in users]
    if missing:
        raise ConfigError([("access", f"{document.htpasswd_file} has no user {missing[0]}")])
    pair = _pair(document)
    nginx = find_nginx()
    with tempfile.TemporaryDirectory(prefix="rop-gateway-") as name:
        folder = Folder(Path(name))
        folder.make()
        place = folder.keep(pair) if pair is not None else None
        elsewhere = document.model_copy(update={"directory": folder.root})
        folder.write(folder.configuration, render(elsewhere, nginx, place).encode())
        try_out(nginx, folder.configuration)
    click.echo(f"ok: nginx {nginx.version_text} takes it, {len(users)} users")


def _pair(document: Gateway) -> Pair | None:
    """What nginx would be given; a stand-in where the authority has still to be asked. Raises ConfigError."""
    source = document.certificate
    if source.source == "External":
        return None
    if source.chain_file is None or source.key_file is None:
        return placeholder(document.host)
    found = read_pair(source.chain_file, source.key_file)
    problem = found if isinstance(found, Problem) else examine(found, document.host, datetime.now(UTC))
    if problem is not None or isinstance(found, Problem):
        raise ConfigError([("certificate", str(problem.message if problem is not None else found))])
    return found


@cli.command("run")
@CONFIG
def run_command(path: Path) -> None:
    """Serve until SIGTERM; SIGHUP looks at the files at once."""
    document = load(path)
    nginx = find_nginx()
    loglines.configure()
    with locked(Folder(document.directory)):
        asyncio.run(_run(Service(path, document, nginx)))


async def _run(service: Service) -> None:
    stop, look_now = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, look_now.set)
    alive = asyncio.create_task(feed_watchdog(stop), name="watchdog")
    try:
        await service.run(stop, look_now)
    finally:
        alive.cancel()


@cli.command("status")
@CONFIG
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def status_command(path: Path, output: str) -> None:
    """Say how the running gateway is. Exit code 1 unless it is ready."""
    folder = Folder(load(path).directory)
    try:
        told = json.loads(folder.status.read_text("utf-8"))
    except (OSError, ValueError):
        _fail(EX_TEMPFAIL, f"no gateway has run on {folder.root}")
    if output == "json":
        click.echo(json.dumps(told, indent=2))
    else:
        certificate = told["certificate"] or {}
        click.echo(f"{told['reason']}{': ' + told['message'] if told['message'] else ''}")
        click.echo(
            f"serving {told['serving']}, certificate {certificate.get('serial')} until"
            f" {certificate.get('notAfter')}, nginx {told['nginx']['version']}"
        )
    if told["reason"] != "Ready":
        sys.exit(1)


@cli.command("password")
@click.argument("user")
def password_command(user: str) -> None:
    """Print a line for the htpasswd file; the password is read from standard input.

    \b
    Example: rop-gateway password alice < secret >> /etc/rop/htpasswd
    """
    click.echo(entry(user, sys.stdin.buffer.read(4096).rstrip(b"\r\n")))


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
    except ConfigError as error:
        _fail(EX_CONFIG, error)
    except NginxError as error:
        _fail(EX_UNAVAILABLE, error)
    except (Busy, OSError) as error:
        _fail(EX_TEMPFAIL, error)


if __name__ == "__main__":
    main()
