"""What a FirmwareRollout would do, before it does: who is in which wave, who is left out, how long at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from rop_operator.api.durations import parse_duration
from rop_operator.api.rollout import FirmwareRolloutSpec
from rop_operator.domain.conditions import timestamp
from rop_operator.domain.firmware_image import image_of
from rop_operator.domain.operation import Situation
from rop_operator.domain.plan import Finding
from rop_operator.domain.rollout import Round
from rop_operator.domain.rollout_record import VERDICT
from rop_operator.domain.windows import next_opening, opened, window_problem

REMEDIES: Mapping[str, str] = {
    "WrongModel": "the image is not for this model; acknowledge {edge: WrongModel, value: MODEL} on the Camera",
    "Downgrade": "it runs a newer version; acknowledge {edge: Downgrade, value: VERSION} on the Camera",
    "FactoryReset": "acknowledge {edge: FactoryReset, value: UID} on the Camera",
    "OwnedByRollout": "another rollout has it; it is tried once that one ended",
    "DeviceOffline": "it is tried once it is back",
    "GateUnknown": "model, firmware or battery were never seen; it is tried once they are",
    "BatteryLow": "it is tried once it is charged or on its charger",
}


@dataclass(frozen=True, slots=True)
class WaveForecast:
    """A wave as it would be drawn now. `rounds`: how often the fullest group has to wait for its budget."""

    name: str
    cameras: tuple[str, ...]
    approval: bool
    soak_seconds: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """`refused` and `waiting`: cameras by reason. `dark`: the most cameras of a group dark at a time.
    `dark_seconds`: how long one camera may be away before it counts as lost. `at_most_seconds`: all soaks, and
    that time for each round; waiting for windows, approvals and absent cameras comes on top.
    """

    image: str
    version: str
    waves: tuple[WaveForecast, ...] = ()
    already: tuple[str, ...] = ()
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    waiting: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dark: Mapping[str, int] = field(default_factory=dict)
    dark_seconds: float = VERDICT.total_seconds()
    at_most_seconds: float = 0.0
    window_open: bool = True
    next_window: str | None = None
    findings: tuple[Finding, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "image": self.image,
            "version": self.version,
            "reboots": sum(len(wave.cameras) for wave in self.waves),
            "waves": [
                {
                    "name": wave.name,
                    "cameras": list(wave.cameras),
                    "approval": wave.approval,
                    "soakSeconds": wave.soak_seconds,
                    "rounds": wave.rounds,
                }
                for wave in self.waves
            ],
            "already": list(self.already),
            "refused": {reason: list(names) for reason, names in self.refused.items()},
            "waiting": {reason: list(names) for reason, names in self.waiting.items()},
            "darkAtOnce": dict(self.dark),
            "darkSecondsAtMost": self.dark_seconds,
            "secondsAtMost": self.at_most_seconds,
            "windowOpen": self.window_open,
            "nextWindow": self.next_window,
            "findings": [{"reason": each.reason, "message": each.message} for each in self.findings],
        }


def forecast(situation: Situation) -> Forecast:
    """For a valid FirmwareRollout whose image was observed (`situation.seen`); its record stays as it is."""
    spec: FirmwareRolloutSpec = situation.spec
    document = situation.seen.image
    image = image_of(document) if document is not None else None
    if image is None:
        told = f"FirmwareImage {spec.image_ref.name} does not exist, or is not valid"
        return Forecast(spec.image_ref.name, "", findings=(Finding("Error", "ImageNotFound", told),))
    drawn = Round(situation, spec, image)
    while len(drawn.record.waves) < len(spec.waves):
        drawn.begin(len(drawn.record.waves))
    left = [name for name in drawn.taken if name not in drawn.record.done]
    waves = tuple(_wave(drawn, index, left) for index in range(len(spec.waves)))
    never = [problem for window in spec.windows if (problem := window_problem(window, situation.now))]
    findings = [Finding("Error", "WindowNeverOpens", each) for each in never]
    if not drawn.members:
        findings.append(Finding("Warning", "NothingSelected", "spec.selector selects no Camera of this server"))
    usable = [] if never else spec.windows
    opens = next_opening(usable, situation.now)
    return Forecast(
        spec.image_ref.name,
        image.version,
        waves,
        tuple(sorted(drawn.record.already)),
        _by_reason({name: m.refused for name, m in drawn.members.items() if name not in drawn.record.done}),
        _by_reason({name: drawn.members[name].waits for name in left}),
        _dark(drawn, left),
        at_most_seconds=sum(wave.soak_seconds + wave.rounds * VERDICT.total_seconds() for wave in waves),
        window_open=not spec.windows or bool(usable and opened(usable, situation.now)),
        next_window=timestamp(opens) if opens is not None else None,
        findings=tuple(findings),
    )


def _wave(drawn: Round, index: int, left: Sequence[str]) -> WaveForecast:
    wave, budget = drawn.spec.waves[index], drawn.spec.disruption_budget
    names = tuple(name for name in drawn.wave_members(index) if name in left)
    groups = Counter(_group(drawn, name) for name in names)
    most = max((number for group, number in groups.items() if group is not None), default=0)
    rounds = ceil(most / budget.max_unavailable) if most else min(1, len(names))
    return WaveForecast(wave.name, names, wave.approval, parse_duration(wave.soak), rounds)


def _group(drawn: Round, name: str) -> str | None:
    """Without a key all cameras are one group; with one, a camera without the label has no limit."""
    return drawn.members[name].group if drawn.spec.disruption_budget.group_by else ""


def _dark(drawn: Round, left: Sequence[str]) -> dict[str, int]:
    most = drawn.spec.disruption_budget.max_unavailable
    groups = Counter(_group(drawn, name) for name in left)
    named = {group: min(number, most) for group, number in groups.items() if group is not None}
    return {group or "all": number for group, number in sorted(named.items())}


def _by_reason(reasons: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name, reason in sorted(reasons.items()):
        if reason is not None:
            found.setdefault(reason, []).append(name)
    return {reason: tuple(names) for reason, names in sorted(found.items())}
