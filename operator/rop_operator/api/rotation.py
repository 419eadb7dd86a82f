"""Kind `KeyRotation`: one item of a server's keys, to its next generation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rop_operator.api.base import Model, ObjectName
from rop_operator.api.rules import Transition, between
from rop_operator.api.run import RunSpec, run_rules

RotatingItem = Literal["Root", "Intermediate", "ServerCertificate", "DeviceKey", "SignKey"]


class Canary(Model):
    """Cameras that go first."""

    cameras: Annotated[
        list[ObjectName],
        Field(min_length=1, max_length=50, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """Names of Cameras of this server. They must come back with the new thing before the rest follows."""


class Pace(Model):
    """How fast."""

    devices_per_minute: Annotated[int, between(1, 100_000, "devicesPerMinute")] | None = None
    """At most so many devices a minute get the new thing. Left out: the server's own pace."""


class Retire(Model):
    """When the old one is given up."""

    when: Literal["CensusEmpty", "Manual"] = "CensusEmpty"
    """CensusEmpty: once no living device needs it. Manual: only when the RopServer acknowledges it with
    {edge: RetireRoot, value: FINGERPRINT} (Root) or {edge: RetireKey, value: ITEM:GENERATION}.
    """


class KeyRotationSpec(RunSpec):
    """A rotation of one item to its next generation."""

    transitions: ClassVar[tuple[Transition, ...]] = run_rules(("item", "toGeneration"), ("canary", "pace"))

    item: RotatingItem
    """What is rotated. Immutable."""
    to_generation: Annotated[int, between(2, 1_000_000, "toGeneration")]
    """The generation that is wanted: one more than the present one. Applying it again does nothing. Immutable."""
    canary: Canary | None = None
    """Cameras that go first. Immutable."""
    pace: Pace | None = None
    """How fast the rest follows. Immutable."""
    retire: Retire = Retire()
    """When the old one is given up."""
