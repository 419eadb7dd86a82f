"""Settings of a camera: what is wanted, what is known, what to write, what to read, what to report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rop_operator.api.camera import CameraSpec, Policy
from rop_operator.api.facts import DeviceFacts, SettingFact, WriteResult
from rop_operator.api.registry import REQUESTED_AT
from rop_operator.domain.conditions import Condition, moment_of, reason_of
from rop_operator.domain.plan import Finding, WriteSettings
from rop_operator.domain.snapshot import CameraSnapshot

# Field of the management interface -> path in the spec.
PATHS: Mapping[str, str] = {
    "displayName": "displayName",
    "pir.enabled": "settings.pir.enabled",
    "pir.sensitivity": "settings.pir.sensitivity",
    "pir.reduceMistakes": "settings.pir.reduceMistakes",
    "alarm.enabled": "settings.alarm.enabled",
}
# A refused write is tried again after this; each try may cost a sleeping camera a wake.
RETRY_AWAKE = 60.0
RETRY_ASLEEP = 3600.0
SHOWN = 40


def desired(spec: CameraSpec) -> dict[str, Any]:
    """Wanted values by field of the management interface, in a fixed order."""
    found: dict[str, Any] = {}
    tree = spec.model_dump(by_alias=True, exclude_none=True)
    for name, path in PATHS.items():
        value: Any = tree
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            found[name] = value
    return found


def mode_of(policy: Policy, name: str) -> str:
    """Enforce, Report or Ignore for a field: the override with the longest matching path wins."""
    path = PATHS[name]
    matching = [o for o in policy.overrides if path == o.field or path.startswith(f"{o.field}.")]
    return max(matching, key=lambda o: len(o.field)).mode if matching else policy.default


def known_settings(snapshot: CameraSnapshot) -> dict[str, SettingFact]:
    """Last known values. What the status remembers stands in where the server cannot tell."""
    found: dict[str, SettingFact] = {}
    remembered = snapshot.status.get("observed")
    kept = remembered.get("settings") if isinstance(remembered, Mapping) else None
    for name, value in kept.items() if isinstance(kept, Mapping) else ():
        found[name] = SettingFact(value=value, how="Written")
    if snapshot.device is not None:
        found.update(snapshot.device.settings)
    return found


def learned(device: DeviceFacts, result: WriteResult, now: datetime) -> DeviceFacts:
    """The device's facts after a settings call: values read, and values written that were not read again."""
    settings = dict(device.settings)
    for name, value in result.values.items():
        settings[name] = SettingFact(value=value, at=now, how="Written" if name in result.written else "Read")
    return device.model_copy(update={"settings": settings})


def shown_value(value: Any) -> str:
    """A value for people: bounded, control characters escaped. Text from devices is hostile."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


@dataclass(frozen=True, slots=True)
class View:
    """Settings at one moment. `repair`: to be written; `report`: differ and stay; `stale`: to be read."""

    wanted: Mapping[str, Any]
    known: Mapping[str, SettingFact] = field(repr=False)
    repair: Mapping[str, Any]
    report: Mapping[str, Any]
    unknown: tuple[str, ...]
    stale: tuple[str, ...]
    next_read: float | None


def view_of(snapshot: CameraSnapshot) -> View:
    """Compare wanted and known."""
    policy = snapshot.spec.policy
    wanted = {n: v for n, v in desired(snapshot.spec).items() if mode_of(policy, n) != "Ignore"}
    known = known_settings(snapshot)
    unknown = tuple(name for name in wanted if name not in known)
    differs = {name: value for name, value in wanted.items() if name not in known or known[name].value != value}
    enforced = {n: v for n, v in differs.items() if mode_of(policy, n) == "Enforce"}
    reported = {n: v for n, v in differs.items() if mode_of(policy, n) == "Report" and n in known}
    stale, next_read = _reading(snapshot, wanted, known)
    return View(wanted, known, enforced, reported, unknown, stale, next_read)


def _reading(
    snapshot: CameraSnapshot, wanted: Mapping[str, Any], known: Mapping[str, SettingFact]
) -> tuple[tuple[str, ...], float | None]:
    """Fields whose value is old, and seconds until the next is. Battery cameras are never read on our account."""
    device = snapshot.device
    if device is None or device.state != "Online" or device.on_battery or not wanted:
        return (), None
    asked = moment_of(snapshot.document.annotations.get(REQUESTED_AT))
    limit = timedelta(seconds=snapshot.resync)
    stale: list[str] = []
    ages: list[float] = []
    for name in wanted:
        at = known[name].at if name in known else None
        if at is None or snapshot.now - at >= limit or (asked and at < asked <= snapshot.now):
            stale.append(name)
        else:
            ages.append((limit - (snapshot.now - at)).total_seconds())
    return tuple(stale), min(ages) if ages else None


@dataclass(frozen=True, slots=True)
class Failure:
    """A write that was refused, kept in `status.settings.lastFailure`."""

    at: datetime
    generation: int
    reason: str
    message: str


def last_failure(snapshot: CameraSnapshot) -> Failure | None:
    """The failure of the newest write, while it concerns the present document."""
    kept = snapshot.status.get("settings")
    failure = kept.get("lastFailure") if isinstance(kept, Mapping) else None
    at = moment_of(failure.get("at")) if isinstance(failure, Mapping) else None
    if not isinstance(failure, Mapping) or at is None or failure.get("generation") != snapshot.document.generation:
        return None
    return Failure(at, snapshot.document.generation, str(failure.get("reason")), str(failure.get("message", "")))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What settings ask for now."""

    condition: Condition
    action: WriteSettings | None = None
    wait: float | None = None
    findings: tuple[Finding, ...] = ()
    later: WriteSettings | None = None


def _in_sync(status: Any, reason: str, message: str = "") -> Condition:
    return Condition("SettingsInSync", status, reason, message)


def _difference(view: View, names: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{PATHS[n]} is {shown_value(view.known[n].value) if n in view.known else 'not known'},"
        f" wanted {shown_value(value)}"
        for n, value in names.items()
    )


def _findings(snapshot: CameraSnapshot, view: View) -> tuple[Finding, ...]:
    """Differences that nobody asked for: the document did not change since they were last in sync."""
    found = [
        Finding("Warning", "Drift", _difference(view, {name: value}), PATHS[name])
        for name, value in view.report.items()
    ]
    if snapshot.status.get("observedGeneration") == snapshot.document.generation:
        found += [
            Finding("Info", "DriftRepaired", _difference(view, {name: value}), PATHS[name])
            for name, value in view.repair.items()
            if name in view.known
        ]
    return tuple(found)


def judge(snapshot: CameraSnapshot) -> Verdict:
    """The verdict for this moment. Writes of several fields are one call, and one wake at most."""
    view = view_of(snapshot)
    findings = _findings(snapshot, view)
    if not view.wanted:
        return Verdict(_in_sync("True", "NothingDesired"))
    if view.repair:
        return _repair(snapshot, view, findings)
    read = tuple(view.stale)
    action = WriteSettings(snapshot.uid, {}, read, False) if read and not snapshot.suspended else None
    return Verdict(_settled(snapshot, view), action, None if action else view.next_read, findings)


def _settled(snapshot: CameraSnapshot, view: View) -> Condition:
    if view.report:
        return _in_sync("False", "Drift", _difference(view, view.report))
    if view.unknown:
        names = ", ".join(PATHS[name] for name in view.unknown)
        reason = "DeviceOffline" if not snapshot.talking else "NotObservable"
        return _in_sync("Unknown", reason, f"never seen: {names}")
    return _in_sync("True", "InSync")


def _repair(snapshot: CameraSnapshot, view: View, findings: tuple[Finding, ...]) -> Verdict:
    message = _difference(view, view.repair)
    if not snapshot.talking:
        # A camera that nobody has seen may be one on battery, whose first write costs a wake.
        device = snapshot.device
        may_sleep = device is None or device.family is None or device.on_battery
        later = WriteSettings(snapshot.uid, view.repair, tuple(view.repair), may_sleep)
        return Verdict(_in_sync("False", "DeviceOffline", message), findings=findings, later=later)
    if snapshot.suspended:
        return Verdict(_in_sync("False", "Suspended", message), findings=findings)
    failure = last_failure(snapshot)
    if failure is not None:
        pause = RETRY_ASLEEP if snapshot.asleep else RETRY_AWAKE
        left = pause - (snapshot.now - failure.at).total_seconds()
        if left > 0:
            return Verdict(_in_sync("False", failure.reason, failure.message), wait=left, findings=findings)
    read = tuple(dict.fromkeys((*view.repair, *view.stale)))
    action = WriteSettings(snapshot.uid, view.repair, read, snapshot.asleep)
    return Verdict(_in_sync("False", "Writing", message), action, findings=findings)


def failure_of(errors: Mapping[str, str]) -> tuple[str, str] | None:
    """Reason and message for the fields a device refused, None when it took all."""
    if not errors:
        return None
    symbols = set(errors.values())
    reason = reason_of(symbols.pop()) if len(symbols) == 1 else "WriteFailed"
    told = "; ".join(f"{PATHS.get(name, name)}: {symbol}" for name, symbol in sorted(errors.items()))
    return reason, f"the camera did not take {told}"
