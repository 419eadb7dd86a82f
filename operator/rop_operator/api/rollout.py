"""Kind `FirmwareRollout`: one image to many cameras, wave by wave."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from rop_operator.api.base import Model, ObjectRef
from rop_operator.api.rules import Relation, Transition, between, lasting, list_map, matching
from rop_operator.api.run import RunSpec, run_rules
from rop_operator.api.selector import LabelKey, LabelSelector

_FIELD = r"[-0-9*/,A-Za-z#]+"
WaveName = Annotated[
    str, matching(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?", "a wave's name is 1 to 32 of a-z, 0-9 and -", 32)
]
Percent = Annotated[int, between(1, 100, "a percentage")]


class Wave(Model):
    """Some of the cameras. The last wave has all that are left."""

    name: WaveName
    """Its name."""
    count: Annotated[int, between(1, 100_000, "count")] | None = None
    """So many cameras."""
    percent: Percent | None = None
    """So much of all cameras, rounded up."""
    soak: Annotated[str, lasting(0, 30 * 86_400, "soak", "30m")] = "0s"
    """So long its cameras must be well before the next wave begins."""
    approval: bool = False
    """It begins once `spec.approvedWaves` names it."""
    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel="!(has(self.count) && has(self.percent))",
            message="a wave has a count or a percent, not both",
            check=lambda m: m.count is None or m.percent is None,
        ),
    )


class Thresholds(Model):
    """When a wave is good enough, and when the rollout stops."""

    success_percent: Percent = 100
    """The next wave begins once so much of this one has the image."""
    failure_percent: Annotated[int, between(0, 100, "failurePercent")] = 10
    """The rollout fails once more than this share of the tries is a failure."""
    min_sample: Annotated[int, between(1, 10_000, "minSample")] = 5
    """The failure share counts from so many results on."""


class DisruptionBudget(Model):
    """How many cameras may be dark at the same time."""

    group_by: LabelKey | None = None
    """Label whose value makes a group, for example `rop.dev/watch-group`. Left out: all cameras are one."""
    max_unavailable: Annotated[int, between(1, 10_000, "maxUnavailable")] = 1
    """So many of a group may be offline or under way. Without a group: so many may be under way."""


class Window(Model):
    """A time in which cameras may be upgraded."""

    schedule: Annotated[
        str, matching(rf"{_FIELD}( {_FIELD}){{4}}", "schedule is five fields of cron, for example 0 2 * * *", 128)
    ]
    """When it opens, as cron writes it."""
    duration: Annotated[str, lasting(60, 7 * 86_400, "duration", "3h")]
    """How long it is open."""
    time_zone: Annotated[
        str, matching(r"[A-Za-z][-+_A-Za-z0-9]*(/[-+_A-Za-z0-9]+){0,2}", "timeZone is a name as Europe/Berlin", 64)
    ] = "Etc/UTC"
    """Zone of the schedule."""
    cutoff: Annotated[str, lasting(0, 86_400, "cutoff", "20m")] = "20m"
    """Nothing begins in the last part: what begins should finish in the window."""
    jitter: Annotated[str, lasting(0, 86_400, "jitter", "30m")] = "0s"
    """Cameras begin spread over so long after it opens."""


class BatteryGate(Model):
    """What a battery camera needs."""

    min_percent: Percent = 40
    """At least so much charge, or on its charger."""


class Gates(Model):
    """What must hold for each camera."""

    battery: BatteryGate = BatteryGate()
    """Battery cameras."""


class FirmwareRolloutSpec(RunSpec):
    """A rollout."""

    transitions: ClassVar[tuple[Transition, ...]] = run_rules(
        ("imageRef", "selector"),
        ("waves", "thresholds", "disruptionBudget", "windows", "gates", "attempts", "factoryReset"),
    )
    relations: ClassVar[tuple[Relation, ...]] = ()

    image_ref: ObjectRef
    """The FirmwareImage. Immutable."""
    selector: LabelSelector
    """Which Cameras of the server; new ones that match join the last wave. Immutable."""
    waves: Annotated[list[Wave], Field(min_length=1, max_length=20, json_schema_extra=list_map("name"))] = [
        Wave(name="canary", count=1, soak="10m"),
        Wave(name="rest"),
    ]
    """Who first. Immutable."""
    approved_waves: Annotated[
        list[WaveName], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = []
    """Waves that a person let begin."""
    thresholds: Thresholds = Thresholds()
    """When it goes on, when it stops. Immutable."""
    disruption_budget: DisruptionBudget = DisruptionBudget(max_unavailable=10)
    """How many at a time. Immutable."""
    windows: Annotated[list[Window], Field(max_length=10)] = []
    """When cameras may be upgraded; without any, always. Immutable."""
    gates: Gates = Gates()
    """What must hold for each camera. Immutable."""
    attempts: Annotated[int, between(1, 10, "attempts")] = 2
    """How often a camera is tried when the failure is a passing one. Immutable."""
    factory_reset: bool = False
    """Reset each camera; each has to acknowledge it: {edge: FactoryReset, value: UID}. Immutable."""
