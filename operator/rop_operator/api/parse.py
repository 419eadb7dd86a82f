"""From a raw spec to a model, or to every broken rule with its remedy.

Types, enums and required members are worded as the API server words them; rules carry their own message, so that
`ropctl validate` and `kubectl apply` say the same.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rop_operator.api.base import Model
from rop_operator.api.camera import CameraSpec
from rop_operator.api.registry import Kind
from rop_operator.api.rules import RULE
from rop_operator.api.server import RopServerSpec
from rop_operator.errors import Problem

_TYPES = {
    "string_type": "string",
    "int_type": "integer",
    "int_from_float": "integer",
    "bool_type": "boolean",
    "list_type": "array",
    "dict_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
}
_REMEDIES = {
    ("string", "integer"): "quote it: without quotes YAML reads a number",
    ("string", "number"): "quote it: without quotes YAML reads a number",
    ("string", "boolean"): "quote it: without quotes YAML reads a truth value",
    ("boolean", "string"): "write true or false without quotes",
    ("integer", "string"): "write the number without quotes",
}


def json_type(value: Any) -> str:
    """The JSON name of a value's type."""
    if isinstance(value, bool):
        return "boolean"
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "object"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else "array"


def without_nulls(value: Any) -> Any:
    """The value as the API server sees it: members that are null are not there."""
    if isinstance(value, Mapping):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def field_path(location: tuple[int | str, ...]) -> str:
    """`("spec", "overrides", 0, "mode")` -> `spec.overrides[0].mode`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _models_in(annotation: Any) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    elif typing.get_origin(annotation) in (list, types.UnionType, typing.Union, typing.Annotated):
        for argument in typing.get_args(annotation):
            yield from _models_in(argument)


def model_at(model: type[Model], location: tuple[int | str, ...]) -> type[Model] | None:
    """The model of the object at a location below `model`."""
    current = model
    for part in location:
        if isinstance(part, int):
            continue
        found = next((f for f in current.model_fields.values() if f.alias == part), None)
        inner = next(_models_in(found.annotation), None) if found else None
        if inner is None:
            return None
        current = inner
    return current


def members_of(model: type[Model]) -> list[str]:
    """Names of the members as a user writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _unknown(model: type[Model], location: tuple[int | str, ...]) -> Problem:
    owner = model_at(model, location[:-1])
    known = members_of(owner) if owner else []
    word = str(location[-1])
    by_lower = {name.lower(): name for name in known}
    close = [by_lower[c] for c in difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)]
    path = field_path(("spec", *location))
    remedy = f'did you mean "{close[0]}"?' if close else f"known members: {', '.join(known)}"
    return Problem(path, f'unknown field "{path}"', remedy)


def _problem(model: type[Model], error: ErrorDetails) -> Problem:
    location, kind = error["loc"], error["type"]
    path = field_path(("spec", *location))
    context = error.get("ctx", {})
    if kind == RULE:
        member = context.get("member")
        return Problem(f"{path}.{member}" if member else path, context["message"])
    if kind == "extra_forbidden":
        return _unknown(model, location)
    if kind == "missing":
        owner = model_at(model, location)
        return Problem(path, "Required value", "write it" if owner is None else "write the object")
    if kind == "literal_error":
        words = str(context["expected"]).replace(" or ", ", ").replace("'", '"')
        return _unsupported(path, words, error["input"])
    if kind in _TYPES:
        wanted, given = _TYPES[kind], json_type(error["input"])
        return Problem(path, f'must be of type {wanted}: "{given}"', _REMEDIES.get((wanted, given), ""))
    if kind == "too_long":
        most = context["max_length"]
        return Problem(path, f"must have at most {most} item{'s' if most > 1 else ''}")
    if kind == "too_short":
        return Problem(path, f"should have at least {context['min_length']} items")
    return Problem(path, error["msg"])


def _unsupported(path: str, words: str, given: Any) -> Problem:
    if not isinstance(given, str):
        wanted = "string"
        return Problem(
            path,
            f'must be of type {wanted}: "{json_type(given)}"',
            _REMEDIES.get((wanted, json_type(given)), ""),
        )
    names = [word.strip('"') for word in words.split(", ")]
    same = {name.lower(): name for name in names}.get(given.lower())
    return Problem(path, f"supported values: {words}", f'did you mean "{same}"?' if same else "")


def _duplicate_keys(model: type[Model], spec: Any, location: tuple[int | str, ...] = ()) -> Iterator[Problem]:
    """Entries of keyed lists that have the same key, which the API server refuses too."""
    for field in model.model_fields.values():
        extra = field.json_schema_extra
        value = spec.get(field.alias) if isinstance(spec, Mapping) else None
        place = (*location, field.alias or "")
        if isinstance(extra, dict) and isinstance(value, list):
            keys = extra.get("x-kubernetes-list-map-keys")
            yield from _repeated(value, keys if isinstance(keys, list) else None, place)
        elif isinstance(value, Mapping):
            for inner in _models_in(field.annotation):
                yield from _duplicate_keys(inner, value, place)


def _repeated(items: list[Any], keys: list[Any] | None, place: tuple[int | str, ...]) -> Iterator[Problem]:
    seen: list[Any] = []
    for number, item in enumerate(items):
        identity = item
        if keys is not None:
            identity = [item.get(key) for key in keys] if isinstance(item, Mapping) else None
        if identity is not None and identity in seen:
            yield Problem(field_path(("spec", *place, number)), "Duplicate value", "remove one of them")
        seen.append(identity)


def problems_of(kind: Kind, spec: Any) -> list[Problem]:
    """Every broken rule of a spec, in order of appearance."""
    if spec is None:
        return [Problem("spec", "Required value", "write the object")]
    if not isinstance(spec, Mapping):
        return [Problem("spec", f'must be of type object: "{json_type(spec)}"')]
    plain = without_nulls(spec)
    found = list(_duplicate_keys(kind.model, plain))
    try:
        kind.model.model_validate(plain)
    except ValidationError as failure:
        found += [_problem(kind.model, error) for error in failure.errors(include_url=False)]
    return found


def transition_problems(kind: Kind, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Problem]:
    """Rules over two versions that the change from `old` to `new` breaks."""
    before, after = without_nulls(old), without_nulls(new)
    return [
        Problem(f"spec.{rule.member}", rule.message)
        for rule in kind.model.transitions
        if not rule.check(before, after)
    ]


def camera_spec(spec: Mapping[str, Any]) -> CameraSpec:
    """A Camera's spec. pydantic.ValidationError when it breaks a rule."""
    return CameraSpec.model_validate(without_nulls(spec))


def server_spec(spec: Mapping[str, Any]) -> RopServerSpec:
    """A RopServer's spec. pydantic.ValidationError when it breaks a rule."""
    return RopServerSpec.model_validate(without_nulls(spec))
