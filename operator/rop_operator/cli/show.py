"""How objects look: tables, JSON, YAML, descriptions. Text from devices is escaped before a terminal sees it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rop_operator.api.registry import Column, Kind
from rop_operator.cli.backend import EventRow, Object, tidy

WIDE = 100_000
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[\?\(@\.([A-Za-z0-9_]+)==\"([^\"]*)\"\)\]")


def safe(value: Any) -> str:
    """Text that cannot steer a terminal: what does not print (escapes, bidirectional marks) is escaped."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def at_path(item: Any, path: str) -> Any:
    """The value at a path such as `.status.conditions[?(@.type=="Ready")].status`; None when it is not there."""
    for member, key, wanted in _STEP.findall(path):
        if member:
            item = item.get(member) if isinstance(item, Mapping) else None
        else:
            found = item if isinstance(item, list) else []
            item = next((e for e in found if isinstance(e, Mapping) and e.get(key) == wanted), None)
        if item is None:
            return None
    return item


def age(text: str | None, now: datetime) -> str:
    """Time since, as kubectl shows it: 42s, 5m, 3h, 12d."""
    if not text:
        return "-"
    seconds = max(0, int((now - datetime.fromisoformat(text)).total_seconds()))
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "m"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86400}d"


def cell(item: Mapping[str, Any], column: Column, now: datetime) -> str:
    """A cell of the table."""
    value = at_path(item, column.json_path)
    if column.type == "date":
        return age(value, now)
    return "-" if value is None else safe(value)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns side by side, never cut or wrapped."""
    table = Table(*headings, box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in table.columns:
        column.no_wrap = True
        column.overflow = "ignore"
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    console = Console(width=WIDE, file=sys.stdout, highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def print_data(value: Any, output: str) -> None:
    """JSON or YAML."""
    if output == "json":
        click.echo(json.dumps(value, indent=2, sort_keys=False, default=str))
    else:
        click.echo(yaml.safe_dump(json.loads(json.dumps(value, default=str)), sort_keys=False).rstrip())


def print_objects(kind: Kind, items: Sequence[Object], output: str, all_namespaces: bool, one: bool) -> None:
    """Objects of a kind as `output` (table, wide, json, yaml); `one` gives the object itself, not a List."""
    if output in ("json", "yaml"):
        shown = [tidy(item) for item in items]
        print_data(shown[0] if one else {"apiVersion": "v1", "kind": "List", "items": shown}, output)
        return
    columns = [column for column in kind.columns if output == "wide" or not column.wide]
    now = datetime.now(UTC)
    headings = ["NAME", *(column.title.upper() for column in columns)]
    rows = [[item["metadata"]["name"], *(cell(item, column, now) for column in columns)] for item in items]
    if all_namespaces:
        headings.insert(0, "NAMESPACE")
        for row, item in zip(rows, items, strict=True):
            row.insert(0, item["metadata"]["namespace"])
    print_table(headings, rows)


def print_events(rows: Sequence[EventRow], output: str) -> None:
    """Events, oldest first."""
    if output in ("json", "yaml"):
        print_data({"items": [row.as_json() for row in rows]}, output)
        return
    now = datetime.now(UTC)
    print_table(
        ["LAST-SEEN", "TYPE", "REASON", "OBJECT", "COUNT", "MESSAGE"],
        [
            [
                age(row.last_seen, now),
                safe(row.type),
                safe(row.reason),
                f"{row.object.kind}/{row.object.name}",
                str(row.count),
                safe(row.message),
            ]
            for row in rows
        ],
    )


def describe_lines(item: Object, events: Sequence[EventRow], now: datetime) -> Iterable[str]:
    """A page about one object: identity, spec, facts, conditions, events."""
    shown = tidy(item)
    metadata = shown["metadata"]
    status = dict(shown.get("status") or {})
    conditions = status.pop("conditions", None) or []
    status.pop("observed", None)
    yield f"Name:        {metadata['name']}"
    yield f"Namespace:   {metadata.get('namespace', '')}"
    yield f"Kind:        {shown['kind']} ({shown['apiVersion']})"
    yield f"Generation:  {metadata.get('generation', '-')}"
    created = metadata.get("creationTimestamp")
    yield f"Created:     {created or '-'} ({age(created, now)} ago)"
    if metadata.get("deletionTimestamp"):
        yield f"Deleting:    since {metadata['deletionTimestamp']}, held by {metadata.get('finalizers', [])}"
    yield "Spec:"
    yield from _tree(shown["spec"], "  ")
    if status:
        yield "Status:"
        yield from _tree(status, "  ")
    yield "Conditions:"
    for condition in conditions:
        since = age(condition.get("lastTransitionTime"), now)
        head = f"{condition.get('type')}={condition.get('status')}"
        yield f"  {safe(head):<24} {safe(condition.get('reason') or ''):<24} {since:>5}  " + safe(
            condition.get("message") or ""
        )
    if not conditions:
        yield "  none yet: the engine has not looked at it"
    yield "Events:"
    for row in events[-20:]:
        times = f" (x{row.count})" if row.count > 1 else ""
        head = f"  {age(row.last_seen, now):>5}  {safe(row.type):<8} {safe(row.reason):<24} "
        yield head + safe(row.message) + times
    if not events:
        yield "  none"


def _tree(value: Any, indent: str) -> Iterable[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, Mapping | list) and inner:
                yield f"{indent}{safe(str(key))}:"
                yield from _tree(inner, indent + "  ")
            else:
                yield f"{indent}{safe(str(key))}: {_leaf(inner)}"
    else:
        for inner in value:
            if isinstance(inner, Mapping | list) and inner:
                lines = list(_tree(inner, indent + "  "))
                yield f"{indent}- {lines[0].strip()}"
                yield from lines[1:]
            else:
                yield f"{indent}- {_leaf(inner)}"


def _leaf(value: Any) -> str:
    return safe(value) if value not in ({}, []) else json.dumps(value)
