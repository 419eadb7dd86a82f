"""The table of bad documents: an API server with crds/ and `ropctl validate` refuse the same in the same words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from rop_operator.cli.app import ropctl
from rop_operator.cli.cluster import plain_rule

Run = Callable[..., Any]
GROUP = "/apis/rop.dev/v1alpha1/namespaces/default"


def refused(plane: Any, row: dict[str, Any], good: dict[str, Any], bad: dict[str, Any]) -> dict[str, Any]:
    """What the API server answers; `old` rows change a good object."""
    path = f"{GROUP}/{row['kind'].lower()}s"
    if not row.get("old"):
        status, answer = plane.api("POST", f"{path}?dryRun=All&fieldValidation=Strict", bad)
    else:
        status, stored = plane.api("POST", path, good)
        assert status == 201, stored
        version = {"resourceVersion": stored["metadata"]["resourceVersion"]}
        changed = {**bad, "metadata": {**bad["metadata"], **version}}
        status, answer = plane.api("PUT", f"{path}/{row['name']}?fieldValidation=Strict", changed)
        plane.api("DELETE", f"{path}/{row['name']}")
    assert status in (400, 422), answer
    result: dict[str, Any] = answer
    return result


def test_an_api_server_says_what_the_table_says(
    control_plane: Any, bad_row: dict[str, Any], bad_document: dict[str, Any], good_document: dict[str, Any]
) -> None:
    if bad_row.get("ours"):
        status, answer = control_plane.api("POST", f"{GROUP}/{bad_row['kind'].lower()}s?dryRun=All", good_document)
        assert status == 201, answer
        return
    answer = refused(control_plane, bad_row, good_document, bad_document)
    causes = (answer.get("details") or {}).get("causes") or []
    if not causes:  # strict decoding names the field in its message
        assert bad_row["says"] in answer["message"]
        return
    said = [plain_rule(cause["message"]) for cause in causes if cause.get("field") == bad_row["field"]]
    assert any(bad_row["says"] in rule for rule in said), json.dumps(causes, indent=1)


def test_ropctl_validate_says_the_same(
    tmp_path: Path, bad_row: dict[str, Any], bad_document: dict[str, Any]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(bad_document, sort_keys=False))
    done = CliRunner().invoke(ropctl, ["validate", "-f", str(path)])
    if bad_row.get("old"):  # a rule over two versions: the document alone is good
        assert done.exit_code == 0, done.output
        return
    assert done.exit_code == 1
    lines = done.stderr.splitlines()
    head = f"{path}: document 1 ({bad_row['kind']}/default/{bad_row['name']}): {bad_row['field']}: "
    assert any(line.startswith(head) and bad_row["says"] in line for line in lines), lines


def test_a_change_of_what_is_immutable_is_refused_with_the_same_words(on_cluster: Run) -> None:
    camera = {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "Camera",
        "metadata": {"name": "fixed"},
        "spec": {"serverRef": {"name": "home"}, "uid": "952700010000ABCD"},
    }
    on_cluster("apply", "-f", "-", stdin=yaml.safe_dump(camera))
    for change, says in (
        ({"uid": "952700010000ZZZZ"}, "uid cannot be changed"),
        ({"serverRef": {"name": "b"}}, "serverRef"),
    ):
        changed = yaml.safe_dump({**camera, "spec": {**camera["spec"], **change}})
        applied = on_cluster("apply", "-f", "-", stdin=changed, expect=1).stderr
        planned = on_cluster("plan", "-f", "-", stdin=changed, expect=1).stderr
        assert says in applied
        assert applied == planned
