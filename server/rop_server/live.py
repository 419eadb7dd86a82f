"""Commands to a running server over its unix socket: `rop-server alarms` and `rop-server top`."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import click

from rop_data.layout import DataDir
from rop_server.alarms.roster import KEY_FILE
from rop_server.offline import DATA
from rop_server.topview import Sample, render

TIMEOUT_S = 30.0


class NotRunning(Exception):
    """No server answers on the socket of the data directory."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the unix socket of a data directory."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect; a path too long for the kernel is reached through a descriptor of its directory."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)


def ask(data_dir: Path, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    """One call of the management interface. Raises NotRunning."""
    connection = _UnixConnection(DataDir(data_dir).manage_socket)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, f"/manage/v1{path}", data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise NotRunning(f"no server answers in {data_dir} ({type(error).__name__})") from None
    finally:
        connection.close()


def _asked(data_dir: Path, method: str, path: str, body: Any = None) -> Any:
    status, text = ask(data_dir, method, path, body)
    document = json.loads(text)
    if status != 200:
        raise click.UsageError(document["error"]["message"])
    return document


@click.group("alarms")
def alarms_group() -> None:
    """Alarms of a running server: receivers, dead letters, replay."""


@alarms_group.command("status")
@DATA
def alarms_status(data_dir: Path) -> None:
    """Each receiver, its address masked, and what waits for it."""
    told = _asked(data_dir, "GET", "/alarms")
    for sink in told["sinks"]:
        state = "down" if sink["down"] else "on" if sink["enabled"] else "off"
        click.echo(
            f"{sink['name']}\t{state}\twaiting {sink['waiting']}\tdead {sink['dead']}"
            f"\tlast {sink['last'] or '-'}\t{sink['address'] or '-'}"
        )
    for reason, count in told["dropped"].items():
        click.echo(f"dropped\t{reason}\t{count}")


@alarms_group.command("dead")
@DATA
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
def alarms_dead(data_dir: Path, limit: int) -> None:
    """Alarms that were given up, newest first, one JSON object per line."""
    for letter in _asked(data_dir, "GET", f"/alarms/dead?limit={limit}")["items"]:
        click.echo(json.dumps(letter, ensure_ascii=False))


@alarms_group.command("replay")
@DATA
@click.option("--sink", help="Only those of this receiver.")
@click.option("--uid", help="Only those of this device.")
@click.option("--id", "ids", multiple=True, help="Only this event; may be given several times.")
def alarms_replay(data_dir: Path, sink: str | None, uid: str | None, ids: tuple[str, ...]) -> None:
    """Send dead letters again."""
    members = {"sink": sink, "uid": uid, "ids": list(ids) or None}
    body = {name: value for name, value in members.items() if value is not None}
    told = _asked(data_dir, "POST", "/alarms/replay", body)
    click.echo(f"{told['replayed']} alarms go out again")


@alarms_group.command("key")
@DATA
def alarms_key(data_dir: Path) -> None:
    """Print the key that receivers verify signatures with (Standard Webhooks)."""
    try:
        click.echo((data_dir / KEY_FILE).read_text().strip())
    except FileNotFoundError:
        raise NotRunning(f"{data_dir} has no key yet: start the server once") from None


@click.command("top")
@DATA
@click.option("--interval", type=click.FloatRange(0.2, 60), default=2.0, show_default=True, metavar="SECONDS")
@click.option("--count", type=click.IntRange(1), help="End after so many pictures [never].")
def top_command(data_dir: Path, interval: float, count: int | None) -> None:
    """Devices, streams, viewers, alarms and rates of a running server."""
    before: Sample | None = None
    shown = 0
    while count is None or shown < count:
        if shown:
            time.sleep(interval)
        status, page = ask(data_dir, "GET", "/metrics")
        if status != 200:
            raise NotRunning(f"the server answered {status}")
        now = Sample.read(page.decode(), time.monotonic())
        if shown and sys.stdout.isatty():
            click.clear()
        click.echo(render(before, now))
        before, shown = now, shown + 1
