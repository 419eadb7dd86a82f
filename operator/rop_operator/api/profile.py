"""Kind `CameraProfile`: settings for every camera that a selector means."""

from __future__ import annotations

from typing import Annotated

from rop_operator.api.base import Model, ObjectRef
from rop_operator.api.camera import Policy, Settings, WakeBudget
from rop_operator.api.rules import between
from rop_operator.api.selector import LabelSelector


class CameraProfileSpec(Model):
    """Settings for the cameras of one server that a selector means. A Camera's own members win, then the profile
    with the highest priority. Two of the same priority must agree: else nothing of the camera is written
    (ProfileConflict).
    """

    server_ref: ObjectRef
    """The RopServer whose cameras are meant."""
    selector: LabelSelector = LabelSelector()
    """Which of them, by the labels of their Camera. Left out: all."""
    priority: Annotated[int, between(-1000, 1000, "priority")] = 0
    """The highest one wins."""
    settings: Settings | None = None
    """Settings to hold."""
    policy: Policy | None = None
    """What happens when a camera differs."""
    wake_budget: WakeBudget | None = None
    """How often each of them may be woken."""
    suspend: bool = False
    """What this profile asks for is compared but not written."""
