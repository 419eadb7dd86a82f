"""How a RopServer is run on a cluster: `RopServer.spec.kubernetes`. A plain host takes no notice of it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rop_operator.api.base import Model, ObjectName
from rop_operator.api.rules import Relation, matching

Quantity = Annotated[
    str,
    matching(r"[1-9][0-9]{0,6}(Ki|Mi|Gi|Ti)", "a size is a whole number with Ki, Mi, Gi or Ti, such as 2Gi", 16),
]
Cpu = Annotated[
    str, matching(r"[1-9][0-9]{0,5}m?", "cpu is a whole number of cores, or of 1/1000 cores with m", 16)
]


class Storage(Model):
    """The volume of the server's data: keys, configuration, state. It outlives this object."""

    size: Quantity = "2Gi"
    """Size."""
    class_name: ObjectName | None = None
    """StorageClass. Left out: the cluster's default. A volume keeps its class."""


class Exposure(Model):
    """How cameras reach the device ports. They connect to the very numbers that `spec.ports` names."""

    type: Literal["LoadBalancer", "NodePort", "HostNetwork", "ClusterIP"] = "LoadBalancer"
    """NodePort: the ports must lie in the cluster's range (30000 to 32767). HostNetwork: the node's own ports, for
    which the namespace must allow more than restricted pods. ClusterIP: something else leads cameras in.
    """
    load_balancer_class: ObjectName | None = None
    """Which load balancer, where a cluster has several."""
    annotations: Annotated[dict[str, str], Field(max_length=32)] = {}
    """For the load balancer, on the Service."""
    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel="!has(self.loadBalancerClass) || self.type == 'LoadBalancer'",
            message="loadBalancerClass is for type LoadBalancer",
            check=lambda m: m.load_balancer_class is None or m.type == "LoadBalancer",
            member="loadBalancerClass",
        ),
    )


class Resources(Model):
    """What the pod asks for and may use."""

    cpu: Cpu | None = None
    """CPU that is set aside."""
    memory: Quantity | None = None
    """Memory that is set aside; twice as much is the limit."""


class Kubernetes(Model):
    """The pod and what is around it."""

    storage: Storage = Storage()
    """The volume of the server's data."""
    service: Exposure = Exposure()
    """How cameras reach the device ports."""
    client_access: Literal["Loopback", "Labelled"] = "Loopback"
    """Who reaches the client ports, which know no passwords. Loopback: nobody outside the pod. Labelled: pods of
    this namespace with the label `rop.dev/client: "true"`; every pod where the cluster enforces no NetworkPolicy.
    """
    evictions: Literal["Hold", "Allow"] = "Hold"
    """Hold: draining a node waits until somebody deletes the pod, because all cameras go with it."""
    resources: Resources | None = None
    """What the pod asks for. Left out: 100m and 256Mi, without a limit."""
    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel="self.clientAccess != 'Labelled' || !has(self.service) || self.service.type != 'HostNetwork'",
            message="clientAccess Labelled would open the client ports to the node's network; use Loopback",
            check=lambda m: m.client_access != "Labelled" or m.service.type != "HostNetwork",
            member="clientAccess",
        ),
    )
