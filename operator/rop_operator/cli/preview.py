"""`ropctl plan`: the plans of the pure domain, printed before anything happens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import click

from rop_operator.api.facts import Document, Ref
from rop_operator.api.parse import problems_of, without_nulls
from rop_operator.api.registry import kind_of
from rop_operator.cli.backend import Object, ref_of
from rop_operator.cli.show import print_data, safe
from rop_operator.documents import Fleet, Parsed, RawDocument
from rop_operator.domain.describe import describe, totals
from rop_operator.domain.plan import Action, Plan
from rop_operator.domain.preview import change_of, plan_delete, plan_for, transition_errors
from rop_operator.errors import DocumentsRefused


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


def written(item: Object) -> Parsed:
    """A stored object as if it were applied once more."""
    document = document_of(item)
    kind = kind_of(document.ref.kind)
    assert kind is not None
    raw = RawDocument("stored", 1, 1, item)
    return Parsed(document.ref, kind, document.spec, document.labels, document.annotations, raw)


def without_defaults(stored: Document, parsed: Parsed | None) -> Document:
    """The stored document; with the spec as it is written now when the two mean the same.

    An API server spells defaults out, which is no change.
    """
    if parsed is None or problems_of(parsed.kind, stored.spec):
        return stored
    model = parsed.kind.model
    same = model.model_validate(without_nulls(parsed.spec)) == model.model_validate(without_nulls(stored.spec))
    return replace(stored, spec=parsed.spec) if same else stored


def plan_json(ref: Ref, change: str, plan: Plan) -> dict[str, Any]:
    """A plan for `-o json`. `later`: what follows at most once the camera is online."""
    findings = [
        {"severity": f.severity, "reason": f.reason, "field": f.field, "message": f.message} for f in plan.findings
    ]
    return {
        "ref": str(ref),
        "document": change,
        "actions": [_action_json(action) for action in plan.actions],
        "later": [_action_json(action) for action in plan.later],
        "findings": findings,
    }


def _action_json(action: Action) -> dict[str, Any]:
    return {
        "action": type(action).__name__,
        "text": describe(action),
        "writes": action.device_writes,
        "wakes": action.wakes,
        "reboots": action.reboots,
    }


def print_plans(fleet: Fleet | None, current: Sequence[Object], output: str, now: datetime) -> bool:
    """Print what applying `fleet` would do (None: what is still to be done); True when anything would change.

    DocumentsRefused when a document would be refused because of what is stored.
    """
    new = fleet.documents if fleet is not None else tuple(written(item) for item in current)
    by_ref = {parsed.ref: parsed for parsed in new}
    stored = [without_defaults(document, by_ref.get(document.ref)) for document in map(document_of, current)]
    errors = transition_errors(new, stored)
    if errors:
        raise DocumentsRefused(errors)
    before = {document.ref: document for document in stored}
    changes = {ref: change_of(parsed, before.get(ref)) for ref, parsed in by_ref.items()}
    return _print(plan_for(new, stored, now), changes, output, quiet=fleet is None)


def print_deletions(refs: Sequence[Ref], current: Sequence[Object], output: str, now: datetime) -> bool:
    """Print what deleting these would do; True when one of them is there."""
    stored = [document_of(item) for item in current]
    there = {document.ref for document in stored} & set(refs)
    return _print(plan_delete(refs, stored, now), dict.fromkeys(there, "deleted"), output, quiet=False)


def _print(plans: Sequence[tuple[Ref, Plan]], changes: Mapping[Ref, str], output: str, quiet: bool) -> bool:
    """Print plans; `quiet` leaves out what has nothing to say. True when anything would change."""
    rows = [plan_json(ref, changes.get(ref, "unchanged"), plan) for ref, plan in plans]
    if output in ("json", "yaml"):
        costs = ("writes", "wakes", "reboots")
        sums, after = (
            {cost: sum(action[cost] for row in rows for action in row[when]) for cost in costs}
            for when in ("actions", "later")
        )
        print_data({"plans": rows, "totals": sums, "totalsLater": after}, output)
    else:
        _print_text(row for row in rows if not quiet or row["actions"] or row["later"] or row["findings"])
        click.echo(totals([plan for _, plan in plans]))
    return any(row["actions"] or row["later"] or row["document"] != "unchanged" for row in rows)


def _print_text(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        click.echo(f"{row['ref']}: {row['document']}")
        for action in row["actions"]:
            click.echo(f"  - {safe(action['text'])}")
        for action in row["later"]:
            click.echo(f"  - when it is online, at most: {safe(action['text'])}")
        for finding in row["findings"]:
            field = f"{finding['field']}: " if finding["field"] else ""
            click.echo(f"  ! {finding['reason']}: {safe(field + finding['message'])}")
