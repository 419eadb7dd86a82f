"""`ropctl plan`: the plans of the pure domain, printed before anything happens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from rop_operator.api.facts import Document, Ref
from rop_operator.api.parse import without_nulls
from rop_operator.api.registry import kind_of
from rop_operator.cli.backend import Object, ref_of
from rop_operator.cli.show import print_data, safe
from rop_operator.documents import Fleet, Parsed
from rop_operator.domain.describe import describe
from rop_operator.domain.plan import Plan
from rop_operator.domain.preview import plan_for


def document_of(item: Object) -> Document:
    """A stored object as the domain takes it."""
    metadata = item["metadata"]
    created, deleting = metadata.get("creationTimestamp"), metadata.get("deletionTimestamp")
    return Document(
        ref=ref_of(item),
        uid=str(metadata.get("uid", "")),
        generation=int(metadata.get("generation") or 0),
        spec=item.get("spec") or {},
        status=item.get("status") or {},
        annotations=metadata.get("annotations") or {},
        labels=metadata.get("labels") or {},
        finalizers=tuple(metadata.get("finalizers") or ()),
        created=datetime.fromisoformat(created) if created else None,
        deleting=datetime.fromisoformat(deleting) if deleting else None,
    )


def change_of(parsed: Parsed, stored: Document | None) -> str:
    """What applying a document would do: `created`, `configured`, `unchanged`; spelt-out defaults are no change."""
    if stored is None:
        return "created"
    kind = kind_of(parsed.ref.kind)
    assert kind is not None
    same = kind.model.model_validate(without_nulls(parsed.spec)) == kind.model.model_validate(
        without_nulls(stored.spec)
    )
    for written, kept in ((parsed.labels, stored.labels), (parsed.annotations, stored.annotations)):
        same = same and all(kept.get(key) == value for key, value in written.items())
    return "unchanged" if same else "configured"


def wanted_document(parsed: Parsed, stored: Document | None, now: datetime) -> Document:
    """The document as it would be stored."""
    if stored is None:
        return Document(parsed.ref, "", 1, parsed.spec, {}, parsed.annotations, parsed.labels, created=now)
    changed = change_of(parsed, stored) == "configured"
    return Document(
        ref=stored.ref,
        uid=stored.uid,
        generation=stored.generation + changed,
        spec=parsed.spec,
        status=stored.status,
        annotations={**stored.annotations, **parsed.annotations},
        labels={**stored.labels, **parsed.labels},
        finalizers=stored.finalizers,
        created=stored.created,
        deleting=stored.deleting,
    )


def plan_json(ref: Ref, change: str, plan: Plan) -> dict[str, Any]:
    """A plan for `-o json`."""
    actions = [
        {
            "action": type(action).__name__,
            "text": describe(action),
            "writes": action.device_writes,
            "wakes": action.wakes,
            "reboots": action.reboots,
        }
        for action in plan.actions
    ]
    findings = [
        {"severity": f.severity, "reason": f.reason, "field": f.field, "message": f.message} for f in plan.findings
    ]
    return {"ref": str(ref), "document": change, "actions": actions, "findings": findings}


def print_plans(fleet: Fleet, current: Sequence[Object], output: str, now: datetime) -> bool:
    """Print what would happen; True when anything would."""
    stored = {document.ref: document for document in map(document_of, current)}
    wanted = [wanted_document(parsed, stored.get(parsed.ref), now) for parsed in fleet.documents]
    changes = {parsed.ref: change_of(parsed, stored.get(parsed.ref)) for parsed in fleet.documents}
    rows = [
        plan_json(ref, changes.get(ref, "unchanged"), plan)
        for ref, plan in plan_for(wanted, list(stored.values()), now)
        if not fleet.documents or ref in changes or plan.actions
    ]
    totals = {
        cost: sum(a[cost] for row in rows for a in row["actions"]) for cost in ("writes", "wakes", "reboots")
    }
    if output in ("json", "yaml"):
        print_data({"plans": rows, "totals": totals}, output)
    else:
        _print_text(rows, totals)
    return any(row["actions"] or row["document"] != "unchanged" for row in rows)


def _print_text(rows: Sequence[dict[str, Any]], totals: dict[str, int]) -> None:
    for row in rows:
        click.echo(f"{row['ref']}: {row['document']}")
        for action in row["actions"]:
            click.echo(f"  - {safe(action['text'])}")
        for finding in row["findings"]:
            field = f"{finding['field']}: " if finding["field"] else ""
            click.echo(f"  ! {finding['reason']}: {safe(field + finding['message'])}")
    objects = sum(1 for row in rows if row["document"] != "unchanged")
    actions = sum(len(row["actions"]) for row in rows)
    costs = ", ".join(
        f"{count} device {cost}" if cost == "writes" else f"{count} {cost}" for cost, count in totals.items()
    )
    click.echo(f"Plan: {objects} documents change, {actions} actions: {costs}.")
