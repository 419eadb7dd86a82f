"""The chart: linted, rendered, and installed, upgraded, rolled back, uninstalled on a real API server."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = str(ROOT / "charts" / "rop")
VIDEO_SERVER: dict[str, Any] = {
    "apiVersion": "rop.dev/v1alpha1",
    "kind": "RopServer",
    "metadata": {"name": "home"},
    "spec": {"host": "rop.example.net"},
}


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] == kind]


def example_rules() -> list[dict[str, Any]]:
    documents = yaml.safe_load_all((ROOT / "examples/cluster/operator.yaml").read_text())
    rules: list[dict[str, Any]] = next(d for d in documents if d["kind"] == "Role")["rules"]
    return rules


def test_lint(helm: Any) -> None:
    helm("lint", "--strict", CHART)


def test_the_role_is_the_one_that_the_operators_tests_run_under(helm: Any) -> None:
    (role,) = of_kind(helm.render(), "Role")
    assert role["rules"] == example_rules()


def test_without_servers_in_pods_there_are_fewer_rights(helm: Any) -> None:
    documents = helm.render({"servers.enabled": False})
    (role,) = of_kind(documents, "Role")
    resources = {name for rule in role["rules"] for name in rule["resources"]}
    assert not resources & {"statefulsets", "services", "roles", "pods", "persistentvolumeclaims"}
    secrets = [rule["verbs"] for rule in role["rules"] if rule["resources"] == ["secrets"]]
    assert secrets == [["get"]]
    (deployment,) = of_kind(documents, "Deployment")
    assert "--server-image" not in json.dumps(deployment)


def test_each_served_namespace_gets_its_role_and_nothing_is_cluster_wide(helm: Any) -> None:
    documents = helm.render({"namespaces": ["a", "b"]})
    assert [d["metadata"]["namespace"] for d in of_kind(documents, "Role")] == ["a", "b"]
    for binding in of_kind(documents, "RoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "rop-operator", "namespace": "video"}]
    assert not of_kind(documents, "ClusterRole")
    assert not of_kind(documents, "ClusterRoleBinding")
    (deployment,) = of_kind(documents, "Deployment")
    assert [a for a in deployment["spec"]["template"]["spec"]["containers"][0]["args"] if "namespace" in a] == [
        *("--namespace=a", "--namespace=b"),
    ]


def test_a_digest_wins(helm: Any) -> None:
    digest = "sha256:" + "0" * 64
    (deployment,) = of_kind(helm.render({"image.digest": digest, "image.tag": "x"}), "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"localhost/rop-operator@{digest}"
    assert f"--server-image={container['image']}" in container["args"]


def test_the_version_is_the_packages(helm: Any) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    chart = yaml.safe_load((ROOT / "charts/rop/Chart.yaml").read_text())
    assert f'version = "{chart["appVersion"]}"' in project


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"replica": 2}, "replica"),
        ({"replicas": "two"}, "/replicas"),
        ({"image.digest": "sha256:short"}, "/image/digest"),
        ({"image.pullPolicy": "Sometimes"}, "/image/pullPolicy"),
        ({"namespaces": ["Bad_Name"]}, "/namespaces/0"),
        ({"lanCIDRs": ["192.168.1.0"]}, "/lanCIDRs/0"),
    ],
)
def test_bad_values_are_refused_by_name(helm: Any, values: dict[str, Any], field: str) -> None:
    flags = [f"--set-json={key}={json.dumps(value)}" for key, value in values.items()]
    done = helm.run("template", "rop", CHART, *flags)
    assert done.returncode != 0
    assert field in done.stderr.replace(".", "/")


def test_every_value_is_in_the_readme() -> None:
    readme = Path(CHART, "README.md").read_text()
    assert [name for name in yaml.safe_load(Path(CHART, "values.yaml").read_text()) if name not in readme] == []


def apply_server(plane: Any, namespace: str, **spec: Any) -> None:
    document = {**VIDEO_SERVER, "spec": {**VIDEO_SERVER["spec"], **spec}}
    plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))


def test_life_of_a_release(release: Any, control_plane: Any) -> None:
    helm, namespace = release
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    control_plane.api("PATCH", f"/api/v1/namespaces/{namespace}", label, "application/merge-patch+json")
    told = helm("install", "rop", CHART, "--namespace", namespace)
    assert f"The operator serves: {namespace}" in told
    base = f"/apis/apps/v1/namespaces/{namespace}/deployments/rop-operator"

    def replicas() -> int:
        status, item = control_plane.api("GET", base)
        assert status == 200, item
        return int(item["spec"]["replicas"])

    template = control_plane.api("GET", base)[1]["spec"]["template"]
    pod = {"metadata": {"name": "trial", "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
    status, answer = control_plane.api("POST", f"/api/v1/namespaces/{namespace}/pods", pod)
    assert status == 201, f"the pod breaks the restricted standard: {answer}"

    apply_server(control_plane, namespace)
    helm("upgrade", "rop", CHART, "--namespace", namespace, "--set", "replicas=1")
    assert replicas() == 1
    helm("rollback", "rop", "1", "--namespace", namespace)
    assert replicas() == 2
    helm("uninstall", "rop", "--namespace", namespace)
    assert control_plane.api("GET", base)[0] == 404
    assert "home" in control_plane.kubectl("get", "ropservers", "-n", namespace)


def test_a_server_is_deleted_only_when_that_is_acknowledged(release: Any, control_plane: Any) -> None:
    helm, namespace = release
    helm("install", "rop", CHART, "--namespace", namespace)
    path = f"/apis/rop.dev/v1alpha1/namespaces/{namespace}/ropservers/home"
    refused: dict[str, Any] = {}

    def is_guarded() -> bool:
        """A new policy takes a moment to be enforced."""
        apply_server(control_plane, namespace)
        status, answer = control_plane.api("DELETE", path)
        refused.update(answer)
        return bool(status == 422 or status == 403)

    for _ in range(600):
        if is_guarded():
            break
    assert "write spec.acknowledge: [{edge: DeleteServer, value: home}] first" in refused["message"]
    apply_server(control_plane, namespace, acknowledge=[{"edge": "DeleteServer", "value": "other"}])
    assert control_plane.api("DELETE", path)[0] in (403, 422)
    apply_server(control_plane, namespace, acknowledge=[{"edge": "DeleteServer", "value": "home"}])
    assert control_plane.api("DELETE", path)[0] == 200
    elsewhere = control_plane.namespace(f"{namespace}-elsewhere")
    apply_server(control_plane, elsewhere)
    assert control_plane.api("DELETE", path.replace(f"/{namespace}/", f"/{elsewhere}/"))[0] == 200


def test_the_shipped_example_is_accepted(control_plane: Any) -> None:
    namespace = control_plane.namespace("chart-example")
    example = ROOT / "examples/cluster/managed.yaml"
    told = control_plane.kubectl("apply", "--dry-run=server", "-n", namespace, "-f", str(example))
    assert told.splitlines() == [
        "ropserver.rop.dev/yard created (server dry run)",
        "camera.rop.dev/gate created (server dry run)",
    ]
