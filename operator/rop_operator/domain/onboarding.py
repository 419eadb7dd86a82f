"""Lists of cameras to set up: rows with addresses or UIDs, checked as a whole, as Camera documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rop_operator.api.facts import Found
from rop_operator.api.parse import problems_of
from rop_operator.api.registry import API_VERSION, kind_of
from rop_operator.errors import DocumentError, DocumentsRefused

COLUMNS = ("uid", "address", "port", "name", "displayName", "labels")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the list. `uid` None: whoever answers the discovery from `address`. `address` None: not on the
    LAN, or already set up.
    """

    number: int
    uid: str | None = None
    address: str | None = None
    port: int | None = None
    name: str | None = None
    display_name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def read_rows(items: Sequence[Mapping[str, Any]], source: str) -> list[Row]:
    """The rows of a list. DocumentsRefused names every row and column that is wrong."""
    errors: list[DocumentError] = []
    rows = []
    for number, item in enumerate(items, 1):
        found, wrong = _read(number, item)
        errors += [DocumentError(source, f"row {number}", column, rule) for column, rule in wrong]
        rows.append(found)
    errors += _twice(rows, source)
    if not rows:
        errors.append(DocumentError(source, "", "", "no rows", f"columns are {', '.join(COLUMNS)}"))
    if errors:
        raise DocumentsRefused(errors)
    return rows


def _read(number: int, item: Mapping[str, Any]) -> tuple[Row, list[tuple[str, str]]]:
    wrong = [
        (str(name), f"no such column; there are {', '.join(COLUMNS)}") for name in item if name not in COLUMNS
    ]
    given = {name: value for name, value in item.items() if name in COLUMNS and value not in (None, "")}
    labels = given.pop("labels", {})
    if isinstance(labels, str):
        pairs = [pair.partition("=") for pair in labels.replace(",", ";").split(";") if pair.strip()]
        if not all(sign for _, sign, _ in pairs):
            wrong.append(("labels", "written as key=value;key=value"))
        labels = {key.strip(): value.strip() for key, _, value in pairs}
    if not isinstance(labels, Mapping) or not all(isinstance(v, str) for v in labels.values()):
        wrong.append(("labels", "a mapping of texts"))
        labels = {}
    port = given.pop("port", None)
    if isinstance(port, str):
        if not port.isascii() or not port.isdigit():
            wrong.append(("port", "a number from 1 to 65535"))
        port = int(port) if port.isascii() and port.isdigit() else None
    texts = {name: given.get(name) for name in ("uid", "address", "name", "displayName")}
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            wrong.append((name, "a text; quote it"))
            texts[name] = None
    if texts["uid"] is None and texts["address"] is None and not wrong:
        wrong.append(("uid", "give uid, address or both"))
    row = Row(number, texts["uid"], texts["address"], port, texts["name"], texts["displayName"], labels)
    return row, wrong or _broken(row)


def _broken(row: Row) -> list[tuple[str, str]]:
    """What the Camera would be refused for."""
    kind = kind_of("Camera")
    assert kind is not None
    spec = document(replace(row, uid=row.uid or "0" * 16), "server", "default")["spec"]
    found = []
    for problem in problems_of(kind, spec):
        column = problem.field.rpartition(".")[2] or problem.field
        found.append((column, problem.rule))
    return found


def _twice(rows: Sequence[Row], source: str) -> Iterable[DocumentError]:
    for column in ("uid", "address", "name"):
        seen: dict[str, int] = {}
        for row in rows:
            value = getattr(row, column)
            if value is None:
                continue
            place = f"{value} {row.port or ''}" if column == "address" else value
            if place in seen:
                yield DocumentError(source, f"row {row.number}", column, f"the same as in row {seen[place]}")
            seen.setdefault(place, row.number)


def with_uids(rows: Sequence[Row], found: Sequence[Found]) -> tuple[list[Row], dict[int, str]]:
    """The rows with the UIDs that answered from their addresses, and why others have none, by row number."""
    known, silent = [], {}
    for row in rows:
        if row.uid is not None:
            known.append(row)
            continue
        answers = {f.uid for f in found if f.address == row.address and row.port in (None, f.port)}
        if len(answers) == 1:
            known.append(replace(row, uid=answers.pop()))
        else:
            silent[row.number] = "several cameras answer; give port or uid" if answers else "no answer there"
    return known, silent


def document(row: Row, server: str, namespace: str, name: str | None = None) -> dict[str, Any]:
    """The Camera of a row; `name` that of a Camera that has this UID already."""
    spec: dict[str, Any] = {"serverRef": {"name": server}, "uid": row.uid}
    if row.display_name is not None:
        spec["displayName"] = row.display_name
    if row.address is not None:
        lan: dict[str, Any] = {"address": row.address}
        spec["provision"] = {"attempt": 1, "lan": lan if row.port is None else {**lan, "port": row.port}}
    metadata: dict[str, Any] = {"name": row.name or name or f"cam-{str(row.uid).lower()}", "namespace": namespace}
    if row.labels:
        metadata["labels"] = dict(row.labels)
    return {"apiVersion": API_VERSION, "kind": "Camera", "metadata": metadata, "spec": spec}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a row: Online, Failed, NeedsQR (no address: a person has to show it a code) or Waiting."""

    result: str
    reason: str = ""
    message: str = ""

    @property
    def final(self) -> bool:
        """Whether waiting longer is of no use."""
        return self.result != "Waiting"


def result_of(row: Row, conditions: Mapping[str, Mapping[str, Any]]) -> Result:
    """What the conditions of its Camera, by type, say of a row."""
    online, setup = conditions.get("Online", {}), conditions.get("Provisioned", {})
    if online.get("status") == "True":
        return Result("Online")
    stalled = conditions.get("Stalled", {})
    if stalled.get("status") == "True":
        return Result("Failed", str(stalled.get("reason", "")), str(stalled.get("message", "")))
    if row.address is None and online.get("reason") == "NeverSeen":
        return Result("NeedsQR", "NeverSeen", "show it a code: ropctl qr")
    told = setup if setup.get("status") == "False" else online
    return Result("Waiting", str(told.get("reason", "")), str(told.get("message", "")))
