"""Label selectors as Kubernetes writes them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue

from rop_operator.api.base import Model
from rop_operator.api.rules import Relation, Rule, matching

_NAME = r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?/"
KEY_PATTERN = rf"({_PREFIX})?{_NAME}"
VALUE_PATTERN = rf"({_NAME})?"
LONGEST_KEY = 317
_LIST_SET: dict[str, JsonValue] = {"x-kubernetes-list-type": "set"}

LabelKey = Annotated[
    str,
    matching(
        KEY_PATTERN,
        "a label's key is 1 to 63 letters, digits, -, _ and . between letters or digits, maybe after a DNS name"
        " and a slash",
        LONGEST_KEY,
    ),
]
LabelValue = Annotated[
    str,
    matching(
        VALUE_PATTERN,
        "a label's value is empty or has 1 to 63 letters, digits, -, _ and . between letters or digits",
        63,
    ),
]


def _keys_fit(labels: Any) -> bool:
    return all(0 < len(key) <= LONGEST_KEY for key in labels)


Labels = Annotated[
    dict[str, LabelValue],
    Field(max_length=32),
    Rule(
        # A key of another form matches no label; the API server's cost limit leaves room for its length only.
        cel=f"self.all(k, size(k) >= 1 && size(k) <= {LONGEST_KEY})",
        message=f"a label's key has 1 to {LONGEST_KEY} characters",
        check=_keys_fit,
    ),
]


class Requirement(Model):
    """A condition on one label."""

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How it is compared. NotIn and DoesNotExist are also true without the label."""
    values: Annotated[list[LabelValue], Field(max_length=64, json_schema_extra=_LIST_SET)] = []
    """For In and NotIn, at least one."""
    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel="self.operator in ['In', 'NotIn'] == (has(self.values) && size(self.values) > 0)",
            message="In and NotIn need values, Exists and DoesNotExist take none",
            check=lambda m: (m.operator in ("In", "NotIn")) == bool(m.values),
            member="values",
        ),
    )


class LabelSelector(Model):
    """Which objects are meant, by their labels. All conditions have to hold; without any, every object is."""

    match_labels: Labels = {}
    """Labels with exactly these values."""
    match_expressions: Annotated[list[Requirement], Field(max_length=32)] = []
    """More conditions."""
