"""Kind `RecoveryDrill`: one trial of a recovery; member `drill` of a RopServer: what every drill of it needs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from rop_operator.api.backup import Label
from rop_operator.api.base import Model, SecretRef
from rop_operator.api.rules import Transition, lasting
from rop_operator.api.run import RunSpec, run_rules

DAYS = 86_400


class DrillPolicy(Model):
    """What drills of this server need."""

    identity_ref: SecretRef
    """The private age identity (or SSH key) of a recipient of scope WithoutRootKey: it opens all but the key
    of the root CA. No other identity belongs on a machine that runs.
    """
    max_archive_age: Annotated[str, lasting(60, 400 * DAYS, "maxArchiveAge", "25h")] | None = None
    """An older archive fails the drill."""


class RecoveryDrillSpec(RunSpec):
    """The newest archive of a target is restored in memory, and virtual cameras must live on it."""

    transitions: ClassVar[tuple[Transition, ...]] = run_rules(
        ("archive", "timeout"), ("targetName", "maxArchiveAge")
    )

    archive: Literal["Latest"] = "Latest"
    """Which archive: the newest of the target. Immutable."""
    target_name: Label | None = None
    """A target of the RopServer's spec.backup. Left out: the only one. Immutable."""
    timeout: Annotated[str, lasting(10, DAYS, "timeout", "10m")] = "10m"
    """For the whole drill. Immutable."""
    max_archive_age: Annotated[str, lasting(60, 400 * DAYS, "maxArchiveAge", "25h")] | None = None
    """An older archive fails the drill. Left out: as spec.drill of the RopServer says. Immutable."""
