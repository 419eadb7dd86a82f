"""Whether an object is as its manifest says."""

from typing import Any

import pytest

from rop_operator.adapters.kube_drift import contains


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({"a": 1, "theirs": 2}, {"a": 1}),
        ({"l": [{"name": "x", "v": 1, "default": 0}, {"name": "theirs"}]}, {"l": [{"name": "x", "v": 1}]}),
        ({}, {"automount": False, "labels": {}, "rules": []}),
        ({"storage": "1Gi"}, {"storage": "1024Mi"}),
        ({"cpu": "1"}, {"cpu": "1000m"}),
        ({"from": [{"a": 1, "b": 2}]}, {"from": [{"a": 1}]}),
    ],
)
def test_as_it_should_be(live: Any, wanted: Any) -> None:
    assert contains(live, wanted)


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        (None, {"a": 1}),
        ({"a": 2}, {"a": 1}),
        ({"a": None}, {"a": 1}),
        ({"l": [{"name": "y"}]}, {"l": [{"name": "x"}]}),
        ({"l": [{"name": "x", "v": 2}]}, {"l": [{"name": "x", "v": 1}]}),
        ({"ports": [1, 2]}, {"ports": [1]}),
        ({"ports": [2, 1]}, {"ports": [1, 2]}),
        ({"automount": True}, {"automount": False}),
        ({"storage": "2Gi"}, {"storage": "1024Mi"}),
        ({"rules": [{}]}, {"rules": []}),
    ],
)
def test_not_as_it_should_be(live: Any, wanted: Any) -> None:
    assert not contains(live, wanted)
