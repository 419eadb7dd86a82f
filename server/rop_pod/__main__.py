"""The command `rop-pod`. Exit codes: 0, 64 usage, 75 the API server is away or refuses, 78 configuration."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from rop_data.config import ConfigError
from rop_data.layout import DataDir, LockedError
from rop_data.store import prepare
from rop_pki import PkiError
from rop_pod.account import ACCOUNT, Account, AccountError
from rop_pod.deliver import deliver_access
from rop_pod.escrow import deposit, files_of, generations, withdraw

EX_USAGE, EX_TEMPFAIL, EX_CONFIG = 64, 75, 78


def _say(message: str, **values: str) -> None:
    print(json.dumps({"event": "rop-pod", "message": message, **values}), flush=True)


@click.group()
@click.version_option(package_name="rop-operator", prog_name="rop-pod")
def cli() -> None:
    """Prepares the data of a core server in a pod. The operator writes the pods that run this."""


@cli.command("prepare")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), required=True, help="The data directory."
)
@click.option(
    "--first",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder with members.json and environment.json of the first start; it may be missing later.",
)
@click.option("--manage", required=True, help="Secret that gets ca.crt and token of the management interface.")
@click.option(
    "--keys", required=True, metavar="PREFIX", help="Secrets PREFIX-1, PREFIX-2, ... that keep the keys."
)
@click.option(
    "--listen", default="0.0.0.0:7443", show_default=True, help="Where the management interface listens."
)
@click.option(
    "--account",
    type=click.Path(path_type=Path),
    default=ACCOUNT,
    show_default=True,
    help="Folder with token, ca.crt and namespace.",
)
def prepare_command(data: Path, first: Path, manage: str, keys: str, listen: str, account: Path) -> None:
    """Make or restore the data directory, put its keys and the management token where they belong.

    A directory that did all this before serves on when the API server is away.

    \b
    Example: rop-pod prepare --data /data --first /etc/rop/first --manage home-manage --keys home-keys
    Exit codes: 0; 64 usage; 75 the API server is away, or something holds the directory; 78 configuration.
    """
    directory = DataDir(data)
    known = (directory.root / "state.db").exists()
    try:
        _prepare(directory, Account.of_pod(account), first, manage, keys, listen)
    except AccountError as error:
        if not known:
            raise
        _say("served with the keys of the volume", error=str(error))


def _prepare(directory: DataDir, account: Account, first: Path, manage: str, keys: str, listen: str) -> None:
    found = generations(account, keys)
    with directory.lock():
        restored = withdraw(directory, found)
        if restored is not None:
            _say("keys restored", secret=restored)
        members = _read(first / "members.json") if not directory.config.exists() else {}
        environment = {**os.environ, **_read(first / "environment.json")}
        prepare(directory, environment, datetime.now(UTC), {**members, "rop.management.listen": listen})
        # The keys are safe before the first camera can know them.
        filled = deposit(account, found, files_of(directory))
        if filled is not None:
            _say("keys kept", secret=filled)
        if deliver_access(account, directory, manage, time.time()):
            _say("management token told", secret=manage)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(path.name, "a JSON object", str(error)) from None
    if not isinstance(document, dict):
        raise ConfigError(path.name, "a JSON object", type(document).__name__)
    return document


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
    except (AccountError, LockedError, OSError) as error:
        print(f"rop-pod: {error}", file=sys.stderr)
        sys.exit(EX_TEMPFAIL)
    except (ConfigError, PkiError) as error:
        print(f"rop-pod: {error}", file=sys.stderr)
        sys.exit(EX_CONFIG)


if __name__ == "__main__":
    main()
