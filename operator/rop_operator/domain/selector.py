"""Whether labels are selected, as Kubernetes decides it."""

from __future__ import annotations

from collections.abc import Mapping

from rop_operator.api.selector import LabelSelector, Requirement


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether an object with these labels is meant. A selector without conditions means every object."""
    exact = all(labels.get(key) == value for key, value in selector.match_labels.items())
    return exact and all(_holds(requirement, labels) for requirement in selector.match_expressions)


def _holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case _:
            return value is None


def shown(selector: LabelSelector) -> str:
    """The selector as `kubectl get -l` takes it; `everything` for one without conditions."""
    parts = [f"{key}={value}" for key, value in sorted(selector.match_labels.items())]
    for requirement in selector.match_expressions:
        words = {"In": "in", "NotIn": "notin"}.get(requirement.operator)
        if words is not None:
            parts.append(f"{requirement.key} {words} ({','.join(requirement.values)})")
        else:
            parts.append(requirement.key if requirement.operator == "Exists" else f"!{requirement.key}")
    return ",".join(parts) or "everything"
