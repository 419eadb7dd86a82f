"""What a RopServer becomes on a cluster: manifests from its document, nothing else."""

from __future__ import annotations

from typing import Any

from rop_operator.adapters.kube_names import (
    CLIENT_LABEL,
    CLIENT_PORTS,
    DEVICE_PORTS,
    MANAGE_PORT,
    OPERATOR_LABEL,
    Manifest,
    Settings,
    Subject,
)
from rop_operator.adapters.kube_pod import pod_template
from rop_operator.api.kubernetes import Kubernetes

RBAC = "rbac.authorization.k8s.io/v1"


def children(subject: Subject, settings: Settings) -> list[Manifest]:
    """Everything but the Secrets, in the order in which to make it."""
    kubernetes = subject.spec.kubernetes or Kubernetes()
    found = [
        subject.child("v1", "ServiceAccount", subject.called("server"), {"automountServiceAccountToken": False}),
        *_rights(subject),
        _volume(subject, kubernetes),
        _policy(subject, kubernetes),
        _disruption(subject, kubernetes),
        _inside(subject, kubernetes),
    ]
    if kubernetes.service.type != "HostNetwork":
        found.append(_devices(subject, kubernetes))
    return [*found, _workload(subject, kubernetes, settings)]


def _rights(subject: Subject) -> list[Manifest]:
    """The pod may read and fill exactly its own Secrets."""
    name = subject.called("server")
    rules = [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [subject.called("manage"), *subject.keys],
            "verbs": ["get", "patch"],
        }
    ]
    binding = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": subject.namespace}],
    }
    return [
        subject.child(RBAC, "Role", name, {"rules": rules}),
        subject.child(RBAC, "RoleBinding", name, binding),
    ]


def _volume(subject: Subject, kubernetes: Kubernetes) -> Manifest:
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": kubernetes.storage.size}},
    }
    if kubernetes.storage.class_name is not None:
        spec["storageClassName"] = kubernetes.storage.class_name
    return subject.child("v1", "PersistentVolumeClaim", subject.called("data"), {"spec": spec}, kept=True)


def _policy(subject: Subject, kubernetes: Kubernetes) -> Manifest:
    """Cameras from anywhere, the operator to the management interface, labelled pods to the client ports."""
    operator = {"podSelector": {"matchLabels": OPERATOR_LABEL}, "namespaceSelector": {}}
    ingress: list[dict[str, Any]] = [
        {"ports": [_open(number) for _, number in subject.ports(DEVICE_PORTS)]},
        {"ports": [_open(MANAGE_PORT)], "from": [operator]},
    ]
    if kubernetes.client_access == "Labelled":
        clients = [{"podSelector": {"matchLabels": CLIENT_LABEL}}]
        ingress.append({"ports": [_open(number) for _, number in subject.ports(CLIENT_PORTS)], "from": clients})
    spec = {"podSelector": {"matchLabels": subject.selector}, "policyTypes": ["Ingress"], "ingress": ingress}
    return subject.child("networking.k8s.io/v1", "NetworkPolicy", subject.called("server"), {"spec": spec})


def _open(number: int) -> dict[str, Any]:
    return {"port": number, "protocol": "TCP"}


def _disruption(subject: Subject, kubernetes: Kubernetes) -> Manifest:
    spec = {
        "maxUnavailable": 0 if kubernetes.evictions == "Hold" else 1,
        "selector": {"matchLabels": subject.selector},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return subject.child("policy/v1", "PodDisruptionBudget", subject.called("server"), {"spec": spec})


def _inside(subject: Subject, kubernetes: Kubernetes) -> Manifest:
    """For the operator, and for clients in the cluster where the document lets them in."""
    ports = [("manage", MANAGE_PORT)]
    if kubernetes.client_access == "Labelled":
        ports += subject.ports(CLIENT_PORTS)
    spec = {
        "type": "ClusterIP",
        "selector": subject.selector,
        "ports": [_service_port(name, number) for name, number in ports],
        # The operator looks at a server that is not ready yet.
        "publishNotReadyAddresses": True,
    }
    return subject.child("v1", "Service", subject.called("inside"), {"spec": spec})


def _devices(subject: Subject, kubernetes: Kubernetes) -> Manifest:
    """Cameras connect to the numbers that the configuration names, and the server sees their addresses."""
    exposure = kubernetes.service
    ports = [_service_port(name, number) for name, number in subject.ports(DEVICE_PORTS)]
    if exposure.type == "NodePort":
        ports = [{**port, "nodePort": port["port"]} for port in ports]
    spec: dict[str, Any] = {"type": exposure.type, "selector": subject.selector, "ports": ports}
    if exposure.type != "ClusterIP":
        spec["externalTrafficPolicy"] = "Local"
    if exposure.load_balancer_class is not None:
        spec["loadBalancerClass"] = exposure.load_balancer_class
    annotations = dict(exposure.annotations)
    return subject.child("v1", "Service", subject.called("devices"), {"spec": spec}, annotations=annotations)


def _service_port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "port": number, "targetPort": number, "protocol": "TCP"}


def _workload(subject: Subject, kubernetes: Kubernetes, settings: Settings) -> Manifest:
    """One pod. A new template waits until the operator starts the server anew: all cameras go with it."""
    spec = {
        "replicas": 1,
        "serviceName": subject.called("inside"),
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "OnDelete"},
        "selector": {"matchLabels": subject.selector},
        "template": pod_template(subject, kubernetes, settings),
    }
    return subject.child("apps/v1", "StatefulSet", subject.name, {"spec": spec})
