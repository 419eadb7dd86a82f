"""Rules of fields, each declared once: as CEL for the API server and as Python for every other place.

A rule attached to a field (`Annotated[str, matching(...)]`) becomes `x-kubernetes-validations` in the CRD and is
checked by pydantic with the same message. Rules over several members are `Relation`s, rules over two versions of a
document are `Transition`s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, JsonValue
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from rop_operator.api.durations import DURATION, format_duration, parse_duration

VALIDATIONS = "x-kubernetes-validations"
RULE = "rop_rule"
# CEL needs a bound to estimate its cost; longer texts are refused by the schema before any rule runs.
GENEROUS = 1024
PRESERVE_UNKNOWN: dict[str, JsonValue] = {"x-kubernetes-preserve-unknown-fields": True}


def list_map(*keys: str) -> dict[str, JsonValue]:
    """Schema of a list whose entries are named by these members."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of one field. `cel` sees the value as `self`; `check` is the same in Python; `schema` adds bounds."""

    cel: str
    message: str
    check: Callable[[Any], bool]
    schema: tuple[tuple[str, Any], ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The field's own schema, then this rule."""

        def checked(value: Any) -> Any:
            if not self.check(value):
                raise PydanticCustomError(RULE, "{message}", {"message": self.message})
            return value

        return core_schema.no_info_after_validator_function(checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The field's JSON schema with the CEL of this rule."""
        described = handler(schema)
        described.update(self.schema)
        described.setdefault(VALIDATIONS, []).append({"rule": self.cel, "message": self.message})
        return described


@dataclass(frozen=True, slots=True)
class Relation:
    """A rule over several members of an object; `member` is where a person looks first."""

    cel: str
    message: str
    check: Callable[[Any], bool]
    member: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """A rule over two versions of a spec. `check(old, new)` sees the raw members; `member` names the field."""

    cel: str
    message: str
    member: str
    check: Callable[[Mapping[str, Any], Mapping[str, Any]], bool]
    place: Literal["object", "member"] = "object"


def cel_text(text: str) -> str:
    """A CEL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def matching(pattern: str, message: str, longest: int = GENEROUS) -> Rule:
    """Text that matches `pattern` as a whole. The pattern must mean the same in RE2 and in Python."""
    compiled = re.compile(pattern)
    return Rule(
        cel=f"self.matches({cel_text(f'^({pattern})$')})",
        message=message,
        check=lambda value: compiled.fullmatch(value) is not None,
        schema=(("maxLength", longest),),
    )


def between(low: int, high: int, what: str) -> Rule:
    """A whole number from `low` to `high`."""
    return Rule(
        cel=f"self >= {low} && self <= {high}",
        message=f"{what} is a whole number from {low} to {high}",
        check=lambda value: low <= value <= high,
    )


def lasting(low: float, high: float, what: str, example: str) -> Rule:
    """A Go duration from `low` to `high` seconds."""
    first, last = format_duration(low), format_duration(high)
    compiled = re.compile(DURATION)
    return Rule(
        cel=(
            f"self.matches({cel_text(f'^({DURATION})$')})"
            f" && duration(self) >= duration('{first}') && duration(self) <= duration('{last}')"
        ),
        message=f"{what} is a duration from {first} to {last}, for example {example}",
        check=lambda value: compiled.fullmatch(value) is not None and low <= parse_duration(value) <= high,
        schema=(("maxLength", 32),),
    )


def unchangeable(member: str, why: str) -> Transition:
    """A required member that keeps its first value."""
    return Transition(
        cel="self == oldSelf",
        message=f"{member} cannot be changed; {why}",
        member=member,
        check=lambda old, new: old.get(member) == new.get(member),
        place="member",
    )


def fixed_presence(member: str, why: str) -> Transition:
    """An optional member that is there from the start or never."""
    return Transition(
        cel=f"has(self.{member}) == has(oldSelf.{member})",
        message=f"{member} cannot be added or removed later; {why}",
        member=member,
        check=lambda old, new: (old.get(member) is None) == (new.get(member) is None),
    )


def fixed(member: str, why: str) -> Transition:
    """A member that keeps its first value, or its absence."""
    return Transition(
        cel=(
            f"has(self.{member}) == has(oldSelf.{member})"
            f" && (!has(self.{member}) || self.{member} == oldSelf.{member})"
        ),
        message=f"{member} cannot be changed; {why}",
        member=member,
        check=lambda old, new: old.get(member) == new.get(member),
    )


def one_way(member: str, why: str) -> Transition:
    """A truth value that may become true and stays so."""
    return Transition(
        cel=f"!has(oldSelf.{member}) || !oldSelf.{member} || (has(self.{member}) && self.{member})",
        message=f"{member} cannot be taken back; {why}",
        member=member,
        check=lambda old, new: not old.get(member) or bool(new.get(member)),
    )
