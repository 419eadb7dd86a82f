"""Tables, descriptions and escaping."""

import io
import json
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import Any

import pytest

from rop_operator.api.facts import Ref
from rop_operator.api.registry import kind_called
from rop_operator.cli.backend import EventRow, tidy
from rop_operator.cli.cluster import plain_rule
from rop_operator.cli.show import age, at_path, describe_lines, print_objects, safe

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
HOSTILE = "\x1b]0;owned\x07\x1b[2Jname\u202egpj.exe\u200b\n\x9b31m"
CAMERA: dict[str, Any] = {
    "apiVersion": "rop.dev/v1alpha1",
    "kind": "Camera",
    "metadata": {
        "name": "front-door",
        "namespace": "video",
        "uid": "u",
        "resourceVersion": "7",
        "generation": 2,
        "creationTimestamp": "2026-05-01T11:55:00Z",
        "managedFields": [{"manager": "ropctl"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
    },
    "spec": {"serverRef": {"name": "home"}, "uid": "95270001ABCDEFGH", "settings": {"pir": {"enabled": True}}},
    "status": {
        "state": "Online",
        "firmware": HOSTILE,
        "observed": {"device": {"secretly": "long"}},
        "conditions": [
            {
                "type": "Ready",
                "status": "False",
                "reason": "Writing",
                "message": HOSTILE,
                "lastTransitionTime": "2026-05-01T11:59:30Z",
            }
        ],
    },
}


def printed(output: str, **given: Any) -> str:
    kind = kind_called("cam")
    assert kind is not None
    out = io.StringIO()
    with redirect_stdout(out):
        print_objects(kind, [CAMERA], output, given.get("all_namespaces", False), given.get("one", False))
    return out.getvalue()


def test_text_of_devices_cannot_steer_a_terminal() -> None:
    assert safe(HOSTILE) == r"\x1b]0;owned\x07\x1b[2Jname\u202egpj.exe\u200b\n\x9b31m"
    assert safe("Einfahrt Süd 門") == "Einfahrt Süd 門"
    for text in (printed("table"), "\n".join(describe_lines(CAMERA, [], NOW))):
        assert all(c.isprintable() or c == "\n" for c in text)
        assert r"\x1b]0;owned" in text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".spec.uid", "95270001ABCDEFGH"),
        ('.status.conditions[?(@.type=="Ready")].reason', "Writing"),
        ('.status.conditions[?(@.type=="Online")].reason', None),
        (".status.missing.deeper", None),
        (".spec.uid.deeper", None),
    ],
)
def test_paths_of_columns(path: str, value: str | None) -> None:
    assert at_path(CAMERA, path) == value


@pytest.mark.parametrize(
    ("since", "shown"),
    [
        ("2026-05-01T11:59:59Z", "1s"),
        ("2026-05-01T11:58:01Z", "119s"),
        ("2026-05-01T11:30:00Z", "30m"),
        ("2026-05-01T02:00:00Z", "10h"),
        ("2026-04-01T12:00:00Z", "30d"),
        ("2026-05-01T12:00:09Z", "0s"),
        (None, "-"),
    ],
)
def test_ages(since: str | None, shown: str) -> None:
    assert age(since, NOW) == shown


def test_a_table_says_which_is_not_fine_and_why() -> None:
    heading, row = printed("table").splitlines()
    assert heading.split() == ["NAME", "UID", "SERVER", "ONLINE", "FIRMWARE", "READY", "REASON", "AGE"]
    assert row.split()[:4] == ["front-door", "95270001ABCDEFGH", "home", "Online"]
    assert row.split()[-3:-1] == ["False", "Writing"]
    assert printed("table", all_namespaces=True).splitlines()[1].startswith("video")


def test_json_and_yaml_hold_the_same_without_what_differs_between_hosts() -> None:
    shown = json.loads(printed("json", one=True))
    assert shown == tidy(CAMERA)
    assert set(shown["metadata"]) == {"name", "namespace", "uid", "generation", "creationTimestamp"}
    assert json.loads(printed("json"))["items"] == [shown]
    assert "kind: Camera" in printed("yaml", one=True)


def test_a_description_has_spec_conditions_and_events_but_no_raw_facts() -> None:
    row = EventRow(
        Ref("Camera", "video", "front-door"),
        "Warning",
        "CameraSilent",
        "no answer",
        3,
        None,
        "2026-05-01T11:00:00Z",
    )
    text = "\n".join(describe_lines(CAMERA, [row], NOW))
    assert "enabled: true" in text
    assert "Ready=False" in text
    assert "Writing" in text
    assert "CameraSilent" in text
    assert "(x3)" in text
    assert "secretly" not in text


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        ('Invalid value: "http://x": host is a name', "host is a name"),
        ('Invalid value: "a\\": b": host: is a name', "host: is a name"),
        ("Invalid value: 400: sensitivity is a whole number", "sensitivity is a whole number"),
        ("Invalid value: uid is immutable: make another", "uid is immutable: make another"),
        ("Invalid value: over https:// needs tokenRef", "over https:// needs tokenRef"),
        ('Invalid value: {"a":1}: one of them', "one of them"),
        ("Required value", "Required value"),
    ],
)
def test_the_rule_is_taken_out_of_an_api_servers_words(said: str, rule: str) -> None:
    assert plain_rule(said) == rule
