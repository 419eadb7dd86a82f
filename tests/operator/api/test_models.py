"""Models, rules, CRDs and generated files."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rop_operator.api.crd import custom_resource_definition
from rop_operator.api.durations import format_duration, parse_duration
from rop_operator.api.parse import camera_spec, problems_of, server_spec, transition_problems
from rop_operator.api.registry import KINDS, kind_called, kind_of
from rop_operator.documents import load, parse_all
from rop_operator.domain.config_map import TABLE

ROOT = Path(__file__).parents[3]


def test_bad_documents_break_exactly_one_rule(
    bad_row: dict[str, Any], bad_document: dict[str, Any], good_document: dict[str, Any]
) -> None:
    kind = kind_of(bad_row["kind"])
    assert kind is not None
    assert problems_of(kind, good_document["spec"]) == []
    if bad_row.get("old"):
        found = transition_problems(kind, good_document["spec"], bad_document["spec"])
    else:
        found = problems_of(kind, bad_document["spec"])
    (problem,) = found
    assert problem.field == bad_row["field"]
    assert bad_row["says"] in problem.rule
    assert bad_row.get("remedy", "") in problem.remedy


def test_generated_files_are_fresh() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_a_stale_file_is_noticed(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tools" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    for path, text in module.pages().items():
        assert path.read_text() == text
        assert "None" not in text


def walk(schema: dict[str, Any], path: str = "") -> Any:
    yield path, schema
    for name, member in schema.get("properties", {}).items():
        yield from walk(member, f"{path}.{name}")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_schemas_are_structural(kind: Any) -> None:
    schema = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for path, part in walk(schema):
        assert "type" in part, path
        assert not {"$ref", "anyOf", "title", "$defs"} & set(part), path
        assert not isinstance(part.get("additionalProperties"), bool), path
        if path.startswith(".spec") and part["type"] == "array":
            assert "maxItems" in part, path
        if path.startswith(".spec") and part["type"] == "string":
            assert "maxLength" in part or "enum" in part, path
        if path.startswith(".spec."):
            assert part.get("description") or path.endswith("[]"), path


def test_quickstart_is_valid_and_names_three_cameras() -> None:
    raws = [
        raw for f in sorted((ROOT / "examples/quickstart").glob("*.yaml")) for raw in load(f.read_text(), f.name)
    ]
    fleet = parse_all(raws)
    assert sorted(d.ref.name for d in fleet.documents) == ["front-door", "gate", "home", "yard"]
    # Plain PyYAML, as Ansible and the demo read it, means the same.
    for file in sorted((ROOT / "examples/quickstart").glob("*.yaml")):
        assert list(yaml.safe_load_all(file.read_text())) == [
            raw.value for raw in load(file.read_text(), file.name)
        ]


def test_rotation_examples_are_valid_beside_the_quickstart() -> None:
    files = [*(ROOT / "examples/quickstart").glob("*.yaml"), *(ROOT / "examples/rotation").glob("*.yaml")]
    fleet = parse_all([raw for file in sorted(files) for raw in load(file.read_text(), file.name)])
    rotations = [each.ref for each in fleet.documents if each.ref.kind == "KeyRotation"]
    assert [ref.name for ref in rotations] == ["device-key-2", "intermediate-2"]
    assert {ref.namespace for ref in rotations} == {each.ref.namespace for each in fleet.documents}


@pytest.mark.parametrize(
    ("word", "kind"), [("cam", "Camera"), ("Cameras", "Camera"), ("rs", "RopServer"), ("pod", None)]
)
def test_words_for_kinds(word: str, kind: str | None) -> None:
    found = kind_called(word)
    assert (found.kind if found else None) == kind


def test_every_path_of_the_config_table_is_a_member() -> None:
    kind = kind_of("RopServer")
    assert kind is not None
    schema = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][
        "spec"
    ]
    paths = {path.lstrip(".").replace("[]", "[0]") for path, _ in walk(schema)}
    assert [row.field for row in TABLE if row.field not in paths] == []


@given(st.integers(min_value=0, max_value=100_000_000))
def test_durations_round_trip(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize("text", ["", "1", "1d", "-1s", "1s 2s", "s", "1.s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_defaults() -> None:
    camera = camera_spec({"serverRef": {"name": "home"}, "uid": "952700010000ABCD"})
    assert (camera.access, camera.deletion_policy, camera.policy) == ("Allowed", "Revoke", None)
    server = server_spec({"host": "a", "acknowledge": [{"edge": "HostChange", "value": "b"}]})
    assert server.acknowledged("HostChange", "b")
    assert not server.acknowledged("HostChange", "c")
    assert server.config_policy == "Enforce"


@pytest.mark.parametrize("host", ["rop.example.net", "192.0.2.1", "2001:db8::1", "::1", "a", "a" * 62])
def test_hosts(host: str) -> None:
    assert server_spec({"host": host}).host == host
