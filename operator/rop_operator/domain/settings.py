"""Settings of a camera: what is wanted, what is known, what to write, what to read, what to report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rop_operator.api.facts import DeviceFacts, SettingFact, WriteResult
from rop_operator.api.registry import REQUESTED_AT
from rop_operator.domain.conditions import Condition, moment_of, reason_of, timestamp
from rop_operator.domain.plan import Finding, WriteSettings
from rop_operator.domain.profiles import PATHS
from rop_operator.domain.snapshot import CameraSnapshot
from rop_operator.domain.storms import ROUNDS, Fight, counted, fights_of
from rop_operator.domain.wakes import allowance, ledger

# A refused write is tried again after this; each try may cost a sleeping camera a wake.
RETRY_AWAKE = 60.0
RETRY_ASLEEP = 3600.0
SHOWN = 40


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


def as_last_seen(known: DeviceFacts | None, told: DeviceFacts) -> DeviceFacts:
    """What a server tells of a device, with the facts that we saw ourselves at a later time by our own clock:
    beside a server whose clock is behind, every value would be old for ever, and be read without end.
    """
    if known is None:
        return told
    later = {
        name: ours
        for name, fact in told.settings.items()
        if (ours := known.settings.get(name)) is not None
        and ours.value == fact.value
        and (ours.at is not None and (fact.at is None or fact.at < ours.at))
    }
    return told.model_copy(update={"settings": {**told.settings, **later}}) if later else told


def shown_value(value: Any) -> str:
    """A value for people: bounded, control characters escaped. Text from devices is hostile."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


@dataclass(frozen=True, slots=True)
class View:
    """Settings at one moment. `repair`: to be written; `report`: differ and stay; `fought`: differ and are left
    alone after a drift storm; `stale`: to be read. `drift`: nobody asked for the differences, the camera was in
    sync before.
    """

    wanted: Mapping[str, Any]
    known: Mapping[str, SettingFact] = field(repr=False)
    repair: Mapping[str, Any]
    report: Mapping[str, Any]
    fought: Mapping[str, Any]
    unknown: tuple[str, ...]
    stale: tuple[str, ...]
    next_read: float | None
    drift: bool


def view_of(snapshot: CameraSnapshot) -> View:
    """Compare wanted and known."""
    fields = {n: want for n, want in snapshot.wanted.fields.items() if want.mode != "Ignore"}
    wanted = {name: want.value for name, want in fields.items()}
    known = known_settings(snapshot)
    unknown = tuple(name for name in wanted if name not in known)
    differs = {name: value for name, value in wanted.items() if name not in known or known[name].value != value}
    enforced = {n: v for n, v in differs.items() if fields[n].mode == "Enforce"}
    lost = {name for name, fight in fights(snapshot).items() if fight.lost}
    fought = {n: v for n, v in enforced.items() if n in lost and n in known}
    repair = {n: v for n, v in enforced.items() if n not in fought}
    report = {n: v for n, v in differs.items() if fields[n].mode == "Report" and n in known}
    stale, next_read = _reading(snapshot, wanted, known)
    return View(wanted, known, repair, report, fought, unknown, stale, next_read, synced(snapshot))


def _kept(snapshot: CameraSnapshot) -> Mapping[str, Any]:
    kept = snapshot.status.get("settings")
    return kept if isinstance(kept, Mapping) else {}


def synced(snapshot: CameraSnapshot) -> bool:
    """Whether the camera was in sync before with what is wanted now."""
    return _kept(snapshot).get("synced") == snapshot.wanted.digest


def fights(snapshot: CameraSnapshot) -> dict[str, Fight]:
    """Repairs of drift so far. Another wish, or a request, begins anew."""
    if not synced(snapshot):
        return {}
    asked = moment_of(snapshot.document.annotations.get(REQUESTED_AT))
    return fights_of(_kept(snapshot).get("repairs"), asked)


def drift_of(snapshot: CameraSnapshot, view: View) -> list[dict[str, Any]]:
    """Differences that nobody asked for, for `status.settings.drift`: wanted, seen, and since when."""
    entries = _kept(snapshot).get("drift")
    before = {e.get("field"): e for e in entries if isinstance(e, Mapping)} if isinstance(entries, list) else {}
    found = []
    for name, want in snapshot.wanted.fields.items():
        differs = name in view.report or name in view.fought or (view.drift and name in view.repair)
        if not differs or name not in view.known:
            continue
        fact, path = view.known[name], PATHS[name]
        entry = {
            "field": path,
            "wanted": shown_value(want.value),
            "seen": shown_value(fact.value),
            "mode": want.mode,
        }
        old = before.get(path, {})
        same = old.get("wanted") == entry["wanted"]
        found.append({**entry, "since": old.get("since") if same else timestamp(fact.at or snapshot.now)})
    return found


def settings_status(
    snapshot: CameraSnapshot, in_sync: bool, failure: Mapping[str, Any] | None, repaired: tuple[str, ...]
) -> dict[str, Any]:
    """`status.settings`. `repaired`: fields whose drift was just written over."""
    view = view_of(snapshot)
    rounds = counted(fights(snapshot), repaired, snapshot.now)
    kept = {
        "synced": snapshot.wanted.digest if in_sync else _kept(snapshot).get("synced"),
        "drift": drift_of(snapshot, view),
        "repairs": [rounds[name].to_status(name) for name in sorted(rounds)],
        "lastFailure": None if failure is None else dict(failure),
    }
    return {name: value for name, value in kept.items() if value}


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
    """A write that was refused, kept in `status.settings.lastFailure`; `of`: the digest of what was wanted."""

    at: datetime
    of: str
    reason: str
    message: str

    def to_status(self) -> dict[str, Any]:
        """As it is kept."""
        return {"at": timestamp(self.at), "of": self.of, "reason": self.reason, "message": self.message}


def last_failure(snapshot: CameraSnapshot) -> Failure | None:
    """The failure of the newest write, while it concerns what is wanted now."""
    failure = _kept(snapshot).get("lastFailure")
    at = moment_of(failure.get("at")) if isinstance(failure, Mapping) else None
    if not isinstance(failure, Mapping) or at is None or failure.get("of") != snapshot.wanted.digest:
        return None
    return Failure(at, snapshot.wanted.digest, str(failure.get("reason")), str(failure.get("message", "")))


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
    """Differences that nobody asked for."""
    found = [
        Finding("Warning", "Drift", _difference(view, {name: value}), PATHS[name])
        for name, value in view.report.items()
    ]
    found += [Finding("Error", "DriftStorm", _storm(view, name), PATHS[name]) for name in view.fought]
    if view.drift:
        found += [
            Finding("Info", "DriftRepaired", _difference(view, {name: value}), PATHS[name])
            for name, value in view.repair.items()
            if name in view.known
        ]
    return tuple(found)


def _storm(view: View, *names: str) -> str:
    told = _difference(view, {name: view.fought[name] for name in names})
    return (
        f"{told}; it was repaired {ROUNDS} times within an hour and is left alone now: find who else writes it,"
        f" then annotate {REQUESTED_AT} or change what is wanted"
    )


def judge(snapshot: CameraSnapshot) -> Verdict:
    """The verdict for this moment. Writes of several fields are one call, and one wake at most."""
    conflicts = snapshot.wanted.conflicts
    if conflicts:
        told = "; ".join(map(str, conflicts))
        finding = Finding("Error", "ProfileConflict", told, conflicts[0].path)
        return Verdict(_in_sync("False", "ProfileConflict", told), findings=(finding,))
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
    if view.fought:
        return _in_sync("False", "DriftStorm", _storm(view, *view.fought))
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
        return Verdict(
            _in_sync("False", "DeviceOffline", message), findings=findings, later=_write(snapshot, view, may_sleep)
        )
    if snapshot.suspended:
        return Verdict(_in_sync("False", "Suspended", message), findings=findings)
    failure = last_failure(snapshot)
    if failure is not None:
        pause = RETRY_ASLEEP if snapshot.asleep else RETRY_AWAKE
        left = pause - (snapshot.now - failure.at).total_seconds()
        if left > 0:
            return Verdict(_in_sync("False", failure.reason, failure.message), wait=left, findings=findings)
    if snapshot.asleep:
        used = ledger(snapshot.status, snapshot.device, snapshot.now)
        verdict = allowance(snapshot.budget, used, snapshot.now)
        if not verdict.allowed:
            waiting = _in_sync("False", verdict.reason, f"{verdict.message} ({message})")
            return Verdict(waiting, wait=verdict.wait, findings=findings, later=_write(snapshot, view, False))
    action = _write(snapshot, view, snapshot.asleep)
    return Verdict(_in_sync("False", "Writing", message), action, findings=findings)


def _write(snapshot: CameraSnapshot, view: View, asleep: bool) -> WriteSettings:
    """Everything at once, read again in the same wake."""
    drifted = tuple(name for name in view.repair if view.drift and name in view.known)
    read = tuple(dict.fromkeys((*view.repair, *view.stale)))
    return WriteSettings(snapshot.uid, view.repair, read, asleep, drifted)


def failure_of(errors: Mapping[str, str]) -> tuple[str, str] | None:
    """Reason and message for the fields a device refused, None when it took all."""
    if not errors:
        return None
    symbols = set(errors.values())
    reason = reason_of(symbols.pop()) if len(symbols) == 1 else "WriteFailed"
    told = "; ".join(f"{PATHS.get(name, name)}: {symbol}" for name, symbol in sorted(errors.items()))
    return reason, f"the camera did not take {told}"
