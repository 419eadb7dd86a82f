"""Label selectors."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from rop_operator.api.selector import LabelSelector
from rop_operator.domain.selector import selects, shown

YARD = {"site": "yard", "rop.dev/group": "north"}


def expression(operator: str, *values: str, key: str = "site") -> dict[str, Any]:
    given = {"values": list(values)} if values else {}
    return {"matchExpressions": [{"key": key, "operator": operator, **given}]}


@pytest.mark.parametrize(
    ("selector", "labels", "meant"),
    [
        ({}, {}, True),
        ({}, YARD, True),
        ({"matchLabels": {"site": "yard"}}, YARD, True),
        ({"matchLabels": {"site": "yard", "rop.dev/group": "south"}}, YARD, False),
        ({"matchLabels": {"site": ""}}, {"site": ""}, True),
        ({"matchLabels": {"site": ""}}, {}, False),
        (expression("In", "shop", "yard"), YARD, True),
        (expression("In", "shop"), YARD, False),
        (expression("In", "shop"), {}, False),
        (expression("NotIn", "shop"), YARD, True),
        (expression("NotIn", "yard"), YARD, False),
        (expression("NotIn", "yard"), {}, True),
        (expression("Exists"), YARD, True),
        (expression("Exists"), {}, False),
        (expression("DoesNotExist"), YARD, False),
        (expression("DoesNotExist"), {}, True),
        ({"matchLabels": {"site": "yard"}, **expression("DoesNotExist", key="rop.dev/group")}, YARD, False),
    ],
)
def test_labels_are_selected_as_kubernetes_does(
    selector: Mapping[str, Any], labels: Mapping[str, str], meant: bool
) -> None:
    assert selects(LabelSelector.model_validate(selector), labels) is meant


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": {"site": "two words"}},
        {"matchLabels": {"": "x"}},
        {"matchLabels": {"site": 1}},
        expression("In"),
        expression("Exists", "yard"),
        expression("In", "yard", key="-site"),
        expression("In", "yard", key="Prefix/site"),
        expression("Like", "yard"),
    ],
)
def test_a_selector_that_kubernetes_refuses_is_refused(selector: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LabelSelector.model_validate(selector)


def test_a_selector_is_shown_as_kubectl_takes_it() -> None:
    selector = {"matchLabels": {"b": "1", "a": "2"}, "matchExpressions": []}
    for operator, values in (("In", ["x", "y"]), ("NotIn", ["z"]), ("Exists", []), ("DoesNotExist", [])):
        selector["matchExpressions"].append({"key": "site", "operator": operator, "values": values})  # type: ignore[attr-defined]
    said = "a=2,b=1,site in (x,y),site notin (z),site,!site"
    assert shown(LabelSelector.model_validate(selector)) == said
    assert shown(LabelSelector()) == "everything"
