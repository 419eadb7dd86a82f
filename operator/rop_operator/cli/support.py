"""`ropctl support-bundle`: one file for whoever helps, without secrets."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tarfile
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import yaml

from rop_operator.api.facts import Ref
from rop_operator.api.questions import Question
from rop_operator.api.registry import KINDS
from rop_operator.cli.backend import Backend, Object, ref_of
from rop_operator.cli.read import checks_of
from rop_operator.cli.show import safe
from rop_operator.cli.target import Target, command, effective_namespace
from rop_operator.ports import PortError

LINES = 1_000
# What a URL may carry in secret: a user with a password, and the query.
_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_QUERY = re.compile(r"(?<=\?)[^\s#\"']+")


@click.command("support-bundle")
@click.option(
    "--to",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="[default: rop-support-TIME.tar.gz here]",
)
@command
async def support_bundle(backend: Backend, target: Target, path: Path | None) -> None:
    """Write one file for whoever helps: documents with their status, events, checks, and of every server its
    devices, authority, alarms, last log lines and last changes. It holds no secret values, but names, UIDs and
    addresses: look into it before you hand it on.

    \b
    Example: ropctl support-bundle --to support.tar.gz
    Exit codes: 0, also when a server does not answer (the file says so); 1 when nothing answers; 64 usage.
    """
    now = datetime.now(UTC)
    path = path or Path(f"rop-support-{now:%Y%m%dT%H%M%SZ}.tar.gz")
    if path.exists():
        raise PortError("Conflict", f"{path} exists already; name another file")
    namespace = await effective_namespace(backend, target)
    parts = _Parts()
    await parts.take("checks.json", _checks(backend, namespace))
    servers: list[Ref] = []
    for kind in KINDS:
        items = await backend.list(kind.kind, namespace)
        servers += [ref_of(item) for item in items if kind.kind == "RopServer"]
        for item in items:
            parts.add(f"documents/{kind.kind}/{item['metadata']['name']}.yaml", _document(item))
    await parts.take("events.json", _events(backend, namespace))
    for server in servers:
        for name, call in _questions(backend, server):
            click.echo(f"{server.name}: {name}", err=True)
            await parts.take(f"servers/{server.name}/{name}", call())
    parts.add(
        "about.json",
        {
            "at": now.isoformat(),
            "python": sys.version,
            "namespace": namespace,
            "cluster": target.on_cluster,
            "missing": parts.missing,
        },
    )
    _write(path, parts.files, now)
    click.echo(f"{path}: {len(parts.files)} files" + (f", {len(parts.missing)} missing" if parts.missing else ""))


class _Parts:
    """Files of the bundle by name, and why others are missing."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.missing: dict[str, str] = {}

    async def take(self, name: str, answer: Awaitable[Any]) -> None:
        """Add what a call answers, or why it does not."""
        try:
            self.add(name, await answer)
        except PortError as error:
            self.missing[name] = f"{error.reason}: {error.message}"
            click.echo(f"{name}: {safe(error.message)}", err=True)

    def add(self, name: str, value: Any) -> None:
        """Add a document: JSON, or YAML by its name."""
        plain = without_secrets(json.loads(json.dumps(value, default=str)))
        text = yaml.safe_dump(plain, sort_keys=False) if name.endswith(".yaml") else json.dumps(plain, indent=1)
        self.files[name] = text.encode()


def without_secrets(value: Any) -> Any:
    """The same with users and queries of addresses masked: documents hold no secrets, but people write them."""
    if isinstance(value, Mapping):
        return {key: without_secrets(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_secrets(each) for each in value]
    if isinstance(value, str) and "://" in value:
        return _QUERY.sub("***", _USER.sub("***", value))
    return value


async def _checks(backend: Backend, namespace: str) -> Any:
    return [check.as_json() for check in await checks_of(backend, namespace)]


async def _events(backend: Backend, namespace: str) -> Any:
    return [row.as_json() for row in await backend.events(namespace, None)]


def _document(item: Object) -> Object:
    """Without annotations: anybody may keep anything in them."""
    metadata = {
        key: value for key, value in item["metadata"].items() if key not in ("annotations", "managedFields")
    }
    return {**item, "metadata": metadata}


def _questions(backend: Backend, server: Ref) -> list[tuple[str, Callable[[], Awaitable[Any]]]]:
    async def devices() -> Any:
        return [facts.model_dump() for facts in await backend.devices(server)]

    return [
        ("devices.json", devices),
        ("authority.json", lambda: backend.pki(server)),
        ("alarms.json", lambda: backend.ask(server, Question("Alarms"))),
        ("logs.json", lambda: backend.ask(server, Question("Logs", {"limit": LINES}))),
        ("audit.json", lambda: backend.ask(server, Question("Audit", {"limit": LINES}))),
    ]


def _write(path: Path, files: Mapping[str, bytes], now: datetime) -> None:
    """The archive; readable by its owner alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"rop-support/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(now.timestamp())
            archive.addfile(entry, io.BytesIO(content))
