"""YAML as the Kubernetes tools read it, and errors that name file, document, field, rule and remedy."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rop_operator.api.facts import Ref
from rop_operator.documents import MAX_DEPTH, Fleet, load, parse_all, read_yaml
from rop_operator.errors import DocumentError, DocumentsRefused

SCALARS = [
    tuple(line.split("\t"))
    for line in (Path(__file__).parent / "plain_scalars.tsv").read_text().splitlines()
    if not line.startswith("#")
]
CAMERA = """
apiVersion: rop.dev/v1alpha1
kind: Camera
metadata: {name: front-door, namespace: video}
spec: {serverRef: {name: home}, uid: 952700010000ABCD}
"""


def parsed(text: str) -> Fleet:
    return parse_all(load(text, "fleet.yaml"))


def refused(text: str) -> tuple[DocumentError, ...]:
    with pytest.raises(DocumentsRefused) as caught:
        parsed(text)
    return caught.value.errors


@pytest.mark.parametrize(("text", "wanted"), SCALARS)
def test_plain_scalars_are_what_the_kubernetes_tools_make_of_them(text: str, wanted: str) -> None:
    if wanted == "ERROR":
        with pytest.raises(DocumentsRefused):
            load(f"v: {text}\n", "x")
        return
    got, expected = load(f"v: {text}\n", "x")[0].value["v"], json.loads(wanted)
    assert got == expected or (isinstance(expected, float | int) and float(got) == float(expected))
    assert isinstance(got, bool) == isinstance(expected, bool)
    assert isinstance(got, str) == isinstance(expected, str)


@pytest.mark.parametrize("text", ["'NO'", '"0123"', "!!str 1E5", "|-\n  NO", ">-\n  NO"])
def test_quoted_scalars_are_text(text: str) -> None:
    assert isinstance(load(f"v: {text}\n", "x")[0].value["v"], str)


def test_a_good_document() -> None:
    fleet = parsed(CAMERA + "---\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n")
    (camera,) = fleet.documents
    assert camera.ref == Ref("Camera", "video", "front-door")
    assert camera.as_object()["spec"]["uid"] == "952700010000ABCD"
    assert [raw.kind for raw in fleet.foreign] == ["ConfigMap"]


def test_lists_are_expanded() -> None:
    item = json.dumps(read_yaml(CAMERA)[0][1])
    for head in ("apiVersion: v1\nkind: List", "apiVersion: rop.dev/v1alpha1\nkind: CameraList"):
        assert [d.ref.name for d in parsed(f"{head}\nitems: [{item}]\n").documents] == ["front-door"]
    assert "items" in refused("apiVersion: v1\nkind: List\nitems: 3\n")[0].field


def test_an_error_names_everything() -> None:
    (error,) = refused(CAMERA + "---" + CAMERA.replace("front-door", "yard").replace("952700010000ABCD", "0123"))
    assert str(error) == (
        'fleet.yaml: document 2 (Camera/video/yard): spec.uid: must be of type string: "integer";'
        " quote it: without quotes YAML reads a number"
    )
    assert error.as_json()["text"] == str(error)


def test_all_errors_of_all_documents_are_listed() -> None:
    text = CAMERA.replace("uid:", "uidd:") + "---" + CAMERA.replace("kind: Camera", "kind: Camra")
    found = refused(text)
    assert [(e.document, e.field) for e in found] == [
        ("document 1 (Camera/video/front-door)", "spec.uid"),
        ("document 1 (Camera/video/front-door)", "spec.uidd"),
        ("document 2 (Camra/video/front-door)", "kind"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "key 'a' is there twice"),
        ("a: {b: 1, b: 2}", "key 'b' is there twice"),
        ("a: &x [*x]", "contains itself"),
        ("a: !!python/object:os.system {}", "tag"),
        ("a: !custom x", "tag"),
        ("a: !!binary aGk=", "tag"),
        ("a: [1", "not YAML"),
        ("a: \tb: c", "not YAML"),
        ("a: .inf", "JSON"),
        ("{[1]: 2}", "a key is text"),
        ("- 1", "a document is an object, not array"),
        ("word", "a document is an object, not string"),
        ("a: \x00", "not YAML"),
        ("a: " + "[" * (MAX_DEPTH + 5) + "]" * (MAX_DEPTH + 5), "nested deeper"),
        ("a: " + "[" * 50_000, "not YAML"),
    ],
)
def test_texts_that_are_refused(text: str, words: str) -> None:
    assert words in str(refused(text)[0])


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "too many values" in str(refused("\n".join(lines))[0])


def test_merge_keys_and_anchors_work() -> None:
    text = "base: &b {x: 1, z: 2}\none: {<<: *b, z: 3}\ntwo: {<<: [{x: 9}, *b]}\n"
    assert load(text, "x")[0].value == {"base": {"x": 1, "z": 2}, "one": {"x": 1, "z": 3}, "two": {"x": 9, "z": 2}}


def test_a_large_file_is_refused() -> None:
    assert "larger than" in str(refused("a: " + "x" * (8 * 1024 * 1024 + 1))[0])


def test_a_secret_among_documents_is_refused() -> None:
    (error,) = refused("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {a: hunter2}\n")
    assert "secret set" in error.remedy
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("rop.dev/v1alpha1", "rop.dev/v1", "apiVersion"),
        ("{name: front-door, namespace: video}", "{namespace: video}", "metadata.name"),
        ("name: front-door", "name: Front_Door", "metadata.name"),
        ("name: front-door", "name: 12", "metadata.name"),
        ("namespace: video", "namespace: Video", "metadata.namespace"),
        ("namespace: video", "labels: {a: 1}", "metadata.labels"),
        ("spec: {", "spce: {", "spce"),
    ],
)
def test_heads_that_are_refused(old: str, new: str, field: str) -> None:
    assert field in [error.field for error in refused(CAMERA.replace(old, new, 1))]


def test_the_same_object_twice_is_refused() -> None:
    (error,) = refused(CAMERA + "---" + CAMERA)
    assert "Camera/video/front-door is there twice, first in fleet.yaml document 1" in error.rule


def test_null_members_are_not_there() -> None:
    (camera,) = parsed(CAMERA.replace("uid:", "displayName: null, settings: {pir: null}, uid:")).documents
    assert camera.ref.name == "front-door"


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        fleet: Any = parsed(text)
    except DocumentsRefused as refusal:
        fleet = refusal
        assert refusal.errors
        assert all(error.rule for error in refusal.errors)
    assert fleet is not None
