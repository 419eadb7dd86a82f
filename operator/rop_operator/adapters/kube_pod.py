"""The pod of a core server: one container that prepares the data and keeps the keys safe, one that serves."""

from __future__ import annotations

from typing import Any

from rop_operator.adapters.kube_names import (
    CLIENT_PORTS,
    DEVICE_PORTS,
    MANAGE_PORT,
    TEMPLATE,
    Manifest,
    Settings,
    Subject,
    digest,
)
from rop_operator.api.kubernetes import Kubernetes

USER = 10001
GRACE_SECONDS = 30
TOKEN_SECONDS = 3600
SCRATCH = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108  (a volume of the pod's own)
EVERYWHERE = "0.0.0.0"  # noqa: S104  (within the pod's own network)
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod_template(subject: Subject, kubernetes: Kubernetes, settings: Settings) -> Manifest:
    """The template: restricted Pod Security, but for the node's network where the document asks for it."""
    host_network = kubernetes.service.type == "HostNetwork"
    spec: dict[str, Any] = {
        "serviceAccountName": subject.called("server"),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_prepare(subject, settings)],
        "containers": [_server(subject, kubernetes, settings)],
        "volumes": _volumes(subject),
    }
    if host_network:
        spec |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    if settings.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
    return {"metadata": {"labels": subject.labels, "annotations": {TEMPLATE: digest(spec)}}, "spec": spec}


def _prepare(subject: Subject, settings: Settings) -> Manifest:
    """Reaches the API server with a short-lived token that the serving container does not have."""
    secrets = ["--manage", subject.called("manage"), "--keys", subject.called("keys")]
    return {
        "name": "prepare",
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "command": ["rop-pod"],
        "args": ["prepare", "--data", "/data", "--first", "/etc/rop/first", *secrets],
        "securityContext": _RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            SCRATCH,
            {"name": "first", "mountPath": "/etc/rop/first", "readOnly": True},
            {"name": "account", "mountPath": ACCOUNT, "readOnly": True},
        ],
    }


def _server(subject: Subject, kubernetes: Kubernetes, settings: Settings) -> Manifest:
    clients = EVERYWHERE if kubernetes.client_access == "Labelled" else "127.0.0.1"
    named = [*subject.ports(DEVICE_PORTS), *subject.ports(CLIENT_PORTS), ("manage", MANAGE_PORT)]
    return {
        "name": "server",
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "command": ["rop-server"],
        "args": ["--data", "/data", "--client-bind", clients],
        "ports": [{"name": name, "containerPort": number, "protocol": "TCP"} for name, number in named],
        "securityContext": _RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": _resources(kubernetes),
        "startupProbe": {**_probe("health"), "failureThreshold": 60, "periodSeconds": 2},
        "readinessProbe": {**_probe("ready"), "failureThreshold": 3, "periodSeconds": 5},
        "livenessProbe": {**_probe("health"), "failureThreshold": 6, "periodSeconds": 10},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, SCRATCH],
    }


def _probe(what: str) -> dict[str, Any]:
    return {
        "httpGet": {"path": f"/manage/v1/{what}", "port": "manage", "scheme": "HTTPS"},
        "timeoutSeconds": 5,
    }


def _resources(kubernetes: Kubernetes) -> dict[str, Any]:
    asked = kubernetes.resources
    if asked is None:
        return {"requests": {"cpu": "100m", "memory": "256Mi"}}
    requests = {"cpu": asked.cpu or "100m", "memory": asked.memory or "256Mi"}
    if asked.memory is None:
        return {"requests": requests}
    number, unit = int(asked.memory[:-2]), asked.memory[-2:]
    return {"requests": requests, "limits": {"memory": f"{2 * number}{unit}"}}


def _volumes(subject: Subject) -> list[Manifest]:
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}}
    authority = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    field = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [token, authority, {"downwardAPI": {"items": [field]}}]
    return [
        {"name": "data", "persistentVolumeClaim": {"claimName": subject.called("data")}},
        {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
        # Only the first start needs it, and a Secret may have been cleaned up since.
        {"name": "first", "secret": {"secretName": subject.config, "optional": True, "defaultMode": 0o440}},
        {"name": "account", "projected": {"sources": sources, "defaultMode": 0o440}},
    ]
