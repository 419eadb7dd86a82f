"""CustomResourceDefinitions from the models: structural schema, rules as CEL, columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rop_operator.api.base import Model
from rop_operator.api.parse import model_at
from rop_operator.api.registry import GROUP, VERSION, Column, Kind
from rop_operator.api.rules import PRESERVE_UNKNOWN, VALIDATIONS, Relation, Transition

_DROPPED = ("title", "$defs")


def _flat(node: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema without references, titles and alternatives with null."""
    if isinstance(node, list):
        return [_flat(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    merged = dict(node)
    if "$ref" in merged:
        target = definitions[str(merged.pop("$ref")).rsplit("/", 1)[-1]]
        merged = {**target, **merged}
    if "anyOf" in merged:
        kept = [option for option in merged.pop("anyOf") if option.get("type") != "null"]
        return _flat({**kept[0], **merged}, definitions)
    if "const" in merged:  # a structural schema has enumerations only
        merged["enum"] = [merged.pop("const")]
    default = merged.get("default")
    if default is None or isinstance(default, list | dict):
        merged.pop("default", None)
    if merged.get("properties"):
        flat = {name: _flat(member, definitions) for name, member in merged["properties"].items()}
        merged["properties"] = flat
    return {
        key: value if key == "properties" else _flat(value, definitions)
        for key, value in merged.items()
        if key not in _DROPPED and not (key == "additionalProperties" and isinstance(value, bool))
    }


def _with_rules(schema: dict[str, Any], model: type[Model], location: tuple[str, ...] = ()) -> None:
    """Add the relations and transitions of every model in the tree."""
    current = model_at(model, location)
    if current is not None:
        _add(schema, current.relations, current.transitions)
    for name, member in schema.get("properties", {}).items():
        inner = member.get("items", {}) if member.get("type") == "array" else member
        if inner.get("type") == "object":
            _with_rules(inner, model, (*location, name))


def _add(schema: dict[str, Any], relations: tuple[Relation, ...], transitions: tuple[Transition, ...]) -> None:
    for relation in relations:
        rule = {"rule": relation.cel, "message": relation.message}
        if relation.member:
            rule["fieldPath"] = f".{relation.member}"
        schema.setdefault(VALIDATIONS, []).append(rule)
    for transition in transitions:
        rule = {"rule": transition.cel, "message": transition.message}
        target = schema["properties"][transition.member] if transition.place == "member" else schema
        if target is schema:
            rule["fieldPath"] = f".{transition.member}"
        target.setdefault(VALIDATIONS, []).append(rule)


def spec_schema(kind: Kind) -> dict[str, Any]:
    """Structural schema of a kind's spec."""
    raw = kind.model.model_json_schema(by_alias=True)
    schema: dict[str, Any] = _flat(raw, raw.get("$defs", {}))
    _with_rules(schema, kind.model)
    return schema


def status_schema(kind: Kind) -> dict[str, Any]:
    """Structural schema of a kind's status."""
    raw = kind.status.model_json_schema(by_alias=True)
    schema: dict[str, Any] = _flat(raw, raw.get("$defs", {}))
    if "observed" in schema["properties"]:
        schema["properties"]["observed"].update(PRESERVE_UNKNOWN)
    return schema


def _column(column: Column) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": column.title, "type": column.type, "jsonPath": column.json_path}
    if column.format:
        shown["format"] = column.format
    if column.wide:
        shown["priority"] = 1
    return shown


def custom_resource_definition(kind: Kind) -> dict[str, Any]:
    """The CRD of a kind, ready to be applied."""
    schema = {
        "type": "object",
        "description": (kind.model.__doc__ or "").strip(),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec_schema(kind),
            "status": status_schema(kind),
        },
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in kind.columns],
        "schema": {"openAPIV3Schema": schema},
    }
    names = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.singular,
        "shortNames": list(kind.short_names),
        "categories": ["rop"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }
