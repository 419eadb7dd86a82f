"""Kinds that are one run: they go through phases and end in Complete or Failed. Their spec does not change."""

from __future__ import annotations

from rop_operator.api.base import Model, ObjectRef
from rop_operator.api.rules import Transition, fixed, one_way, unchangeable

ANOTHER = "make another document"


def run_rules(required: tuple[str, ...], optional: tuple[str, ...] = ()) -> tuple[Transition, ...]:
    """Everything but `suspend` and `abort` keeps its first value."""
    return (
        *(unchangeable(member, ANOTHER) for member in ("serverRef", *required)),
        *(fixed(member, ANOTHER) for member in optional),
        one_way("abort", "make another document to begin again"),
    )


class RunSpec(Model):
    """What every run has."""

    server_ref: ObjectRef
    """The RopServer it is about. Immutable."""
    suspend: bool = False
    """Nothing further is begun until this is false again."""
    abort: bool = False
    """Give it up; cannot be taken back."""
