"""The procedure of a FirmwareRollout: which cameras are upgraded next, when it goes on, when it stops."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil
from typing import Any

from rop_operator.api.durations import parse_duration
from rop_operator.api.facts import DeviceFacts, Document, FirmwareFacts
from rop_operator.api.firmware import FirmwareImageSpec
from rop_operator.api.rollout import FirmwareRolloutSpec, Wave
from rop_operator.domain.conditions import previous, timestamp
from rop_operator.domain.firmware_image import image_of
from rop_operator.domain.operation import PENDING, Situation, Step, ended, problem
from rop_operator.domain.plan import Action, Finding, HoldUpgrades, Plan, StartUpgrade, StoreImage
from rop_operator.domain.rollout_record import PRESENT, Record, older
from rop_operator.domain.selector import selects
from rop_operator.domain.windows import next_opening, opened, spread, turn, window_problem

LOOK_AGAIN, SOON = 10.0, 2.0
HOLD_SECONDS = 1800
RENEW = timedelta(seconds=600)
AT_ONCE = 25
REFUSALS = frozenset({"WrongModel", "Downgrade", "FactoryReset"})
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """What a rollout observes: its image's document, firmware on the server."""

    image: Document | None
    firmware: FirmwareFacts


@dataclass(frozen=True, slots=True)
class Member:
    """A camera of the rollout. `refused`: why it is never upgraded as things are; `waits`: why not now."""

    name: str
    uid: str
    group: str | None
    device: DeviceFacts | None
    refused: str | None = None
    waits: str | None = None


def roll(situation: Situation) -> Step:
    """The next step of this FirmwareRollout. `situation.seen` is a `Seen`."""
    spec: FirmwareRolloutSpec = situation.spec
    hindrance = _hindrance(situation, spec)
    if hindrance is not None:
        return hindrance
    image = image_of(situation.seen.image)
    if image is None:
        return _held(situation, "ImageNotReady", "the FirmwareImage is not valid")
    return Round(situation, spec, image).step()


def file_name(image: FirmwareImageSpec) -> str:
    """The image's name in a server's firmware folder: for people its version, to be unique some of its hash."""
    version = re.sub(r"[^A-Za-z0-9._-]", "-", image.version).strip(".-") or "image"
    return f"{version}-{image.sha256[:12]}.pak"


def _held(situation: Situation, reason: str, message: str) -> Step:
    phase = str(situation.status.get("phase") or PENDING)
    return Step(phase, reason, message, wait=LOOK_AGAIN, held=True)


def _hindrance(situation: Situation, spec: FirmwareRolloutSpec) -> Step | None:
    """What keeps the rollout from being decided at all."""
    phase = str(situation.status.get("phase") or PENDING)
    seen: Seen | None = situation.seen
    for window in spec.windows:
        never = window_problem(window, situation.now)
        if never is not None:
            return Step(phase, "WindowNeverOpens", f"spec.windows: {never}", end="Failed")
    if seen is None or seen.image is None:
        message = f"spec.imageRef: FirmwareImage {spec.image_ref.name} does not exist"
        return _held(situation, "ImageNotFound", message)
    if previous(seen.image.status, "Ready").get("status") != "True":
        told = previous(seen.image.status, "Ready").get("message") or "it was not looked at yet"
        return _held(situation, "ImageNotReady", f"the image is not there: {told}")
    return None


class Round:
    """One decision. The record is moved by what is seen, then by what is begun."""

    def __init__(self, situation: Situation, spec: FirmwareRolloutSpec, image: FirmwareImageSpec) -> None:
        self.situation, self.spec, self.image = situation, spec, image
        self.now = situation.now
        self.firmware: FirmwareFacts = situation.seen.firmware
        self.holder = f"FirmwareRollout {situation.document.ref.namespace}/{situation.document.ref.name}"
        self.file = file_name(image)
        self.record = Record.of(situation.kept, self.now)
        chosen = [d for d in situation.cameras if self._chosen(d)]
        self.members = {d.ref.name: self._member(d) for d in chosen}
        self.record.forget(set(self.members))
        for name, member in self.members.items():
            upgrade = self.firmware.upgrades.get(member.uid)
            own = upgrade if upgrade is not None and upgrade.holder == self.holder else None
            self.record.observe(name, image.version, member.device, own, spec.attempts, self.now)

    def _chosen(self, document: Document) -> bool:
        name = document.ref.name
        under_way = name in self.record.running
        usable = document.deleting is None and document.spec.get("access", "Allowed") == "Allowed"
        return under_way or (usable and selects(self.spec.selector, document.labels))

    def _member(self, document: Document) -> Member:
        uid = str(document.spec.get("uid"))
        device = self.situation.devices.get(uid)
        key = self.spec.disruption_budget.group_by
        return Member(
            document.ref.name,
            uid,
            document.labels.get(key) if key else None,
            device,
            refused=self._refused(document, uid, device),
            waits=self._unfit(uid, device),
        )

    def _refused(self, document: Document, uid: str, device: DeviceFacts | None) -> str | None:
        if self.spec.factory_reset and not _acknowledged(document, "FactoryReset", uid):
            return "FactoryReset"
        if device is None:
            return None
        if device.model and device.model not in self.image.models:
            return None if _acknowledged(document, "WrongModel", device.model) else "WrongModel"
        if device.firmware and older(self.image.version, device.firmware):
            return None if _acknowledged(document, "Downgrade", self.image.version) else "Downgrade"
        return None

    def _unfit(self, uid: str, device: DeviceFacts | None) -> str | None:
        """Why the camera cannot be upgraded as it is."""
        if self.firmware.holds.get(uid, self.holder) != self.holder:
            return "OwnedByRollout"
        if device is None or device.state not in PRESENT:
            return "DeviceOffline"
        if not device.model or not device.firmware:
            return "GateUnknown"
        if not device.on_battery:
            return None
        battery = device.battery
        if battery is None:
            return "GateUnknown"
        charging = (battery.charge or "").lower() in ("charging", "chargecomplete")
        return None if charging or battery.percent >= self.spec.gates.battery.min_percent else "BatteryLow"

    # -- sets ---------------------------------------------------------------------------------------

    @property
    def taken(self) -> list[str]:
        """Members that count: all but the refused ones that do not have the image already."""
        return [n for n, m in self.members.items() if m.refused is None or n in self.record.done]

    def _settled(self, name: str) -> bool:
        record = self.record
        return name in record.done or name in record.failed or self.members[name].refused is not None

    def wave_members(self, index: int) -> list[str]:
        """Members of a wave that was begun; of the last one, all that no other has."""
        if index < len(self.spec.waves) - 1:
            return [n for n in self.record.waves[index] if n in self.members]
        before = {name for wave in self.record.waves[: len(self.spec.waves) - 1] for name in wave}
        return [n for n in self._order() if n not in before]

    def _order(self) -> list[str]:
        seed = self.situation.document.uid
        return sorted(self.members, key=lambda name: spread(f"{seed} {self.members[name].uid}"))

    # -- the decision -------------------------------------------------------------------------------

    def step(self) -> Step:
        """What comes next."""
        if self.spec.abort:
            return self._leave("Aborted", f"{len(self.record.done)} cameras keep the image", "Failed")
        if not self.members:
            return self._say("NothingSelected", "spec.selector selects no Camera of this server", held=True)
        stopped = self._stopped()
        if stopped is not None:
            return self._leave("ThresholdExceeded", stopped, "Failed")
        while True:
            index = len(self.record.waves) - 1
            hold = self._between(index)
            if hold is not None:
                return hold
            if index == len(self.spec.waves) - 1 and self._over(index):
                return self._leave("Complete", self._summary(), "Complete")
            if index >= 0 and not self._advance(index):
                return self._within(index)
            self.begin(index + 1)

    def _between(self, index: int) -> Step | None:
        """A wave that is good but must not be left yet, or one that must not begin."""
        nxt = index + 1
        if nxt >= len(self.spec.waves) or (index >= 0 and not self._advance(index)):
            return None
        if index >= 0:
            soaking = self._soaking(index)
            if soaking is not None:
                return self._say("Soaking", soaking, held=True, wait=LOOK_AGAIN)
        wave = self.spec.waves[nxt]
        if wave.approval and wave.name not in self.spec.approved_waves:
            return self._say("ApprovalPending", f"wave {wave.name} waits for spec.approvedWaves", held=True)
        return None

    def begin(self, index: int) -> None:
        """Draw the members of a wave."""
        wave, known = self.spec.waves[index], {n for w in self.record.waves for n in w}
        left = [n for n in self._order() if n not in known]
        size = _size(wave, len(self.taken), len(left)) if index < len(self.spec.waves) - 1 else 0
        self.record.waves.append([n for n in left if self.members[n].refused is None][:size])
        self.record.met_at = None

    def _advance(self, index: int) -> bool:
        """Whether enough of a wave has the image; the last wave is never left."""
        if index == len(self.spec.waves) - 1:
            return False
        names = [n for n in self.wave_members(index) if self.members[n].refused is None]
        done = sum(n in self.record.done for n in names)
        return done >= ceil(len(names) * self.spec.thresholds.success_percent / 100)

    def _soaking(self, index: int) -> str | None:
        """Why the next wave may not begin yet."""
        soak = timedelta(seconds=parse_duration(self.spec.waves[index].soak))
        self.record.met_at = self.record.met_at or self.now
        names = [n for n in self.wave_members(index) if n in self.record.updated]
        away = [n for n in names if not _present(self.members[n].device)]
        if away and soak:
            # It counts from when everybody is well again.
            self.record.met_at = self.now
            return f"wave {self.spec.waves[index].name}: {_some(away)} not online since the upgrade"
        until = self.record.met_at + soak
        return (
            None
            if self.now >= until
            else f"wave {self.spec.waves[index].name} is watched until {timestamp(until)}"
        )

    def _over(self, index: int) -> bool:
        return (
            all(self._settled(n) for n in self.wave_members(index))
            and all(self._settled(n) or n in self.record.again for n in self.members)
            and not self.record.running
            and not self.record.again
        )

    def _stopped(self) -> str | None:
        """Why the rollout has failed, None while it has not."""
        record, limits = self.record, self.spec.thresholds
        failed, sample = len(record.failed), len(record.failed) + len(record.updated)
        if sample >= limits.min_sample and failed * 100 > limits.failure_percent * sample:
            return f"{failed} of {sample} failed, {limits.failure_percent} % are allowed: {self._reasons()}"
        for index in range(len(record.waves)):
            names = [n for n in self.wave_members(index) if self.members[n].refused is None]
            needed = ceil(len(names) * limits.success_percent / 100)
            lost = sum(n in record.failed for n in names)
            if index < len(self.spec.waves) - 1 and len(names) - lost < needed:
                name = self.spec.waves[index].name
                return f"wave {name} cannot reach {limits.success_percent} % any more: {self._reasons()}"
        return None

    def _within(self, index: int) -> Step:
        """Cameras of the waves that have begun."""
        starts, waiting = self._choose(index)
        actions = (*self._hold(), *self._store(bool(starts)), *starts)
        running = len(self.record.running)
        if running or starts:
            return self._say("Rolling", f"{running} under way", actions=actions, wait=SOON, waiting=waiting)
        reason = next(iter(waiting), "Rolling")
        told = "; ".join(f"{each}: {_some(names)}" for each, names in waiting.items())
        if reason == "OutsideWindow":
            opens = next_opening(self.spec.windows, self.now)
            told += f"; the next window opens {timestamp(opens)}" if opens else ""
        return self._say(reason, told, actions=actions, held=True, wait=LOOK_AGAIN, waiting=waiting)

    def _choose(self, index: int) -> tuple[list[StartUpgrade], dict[str, list[str]]]:
        """Who begins now, and who waits for what."""
        waiting: dict[str, list[str]] = {}
        budget = _Budget(self)
        openings = opened(self.spec.windows, self.now)
        starts: list[StartUpgrade] = []
        for name in [n for i in range(index + 1) for n in self.wave_members(i)]:
            member = self.members[name]
            if self._settled(name) or name in self.record.running:
                continue
            reason = member.waits
            if reason is None and self.record.waits(name, self.now):
                reason = self.record.again[name].reason
            if reason is None and self.spec.windows and not turn(openings, self.now, member.uid):
                reason = "OutsideWindow"
            if reason is None and (len(starts) >= AT_ONCE or not budget.take(member)):
                reason = "BudgetHeld"
            if reason is not None:
                waiting.setdefault(reason, []).append(name)
            else:
                starts.append(self._start(member))
        return starts, waiting

    def _start(self, member: Member) -> StartUpgrade:
        device = member.device
        self.record.start(member.name, device.firmware if device else None, self.now)
        asleep = device is not None and device.state == "Asleep"
        return StartUpgrade(
            *(member.name, member.uid, self.file, self.image.sha256, self.holder),
            factory_reset=self.spec.factory_reset,
            asleep=asleep,
        )

    def _store(self, needed: bool) -> list[StoreImage]:
        there = self.firmware.files.get(self.file) == self.image.sha256
        return [StoreImage(self.file, self.image.sha256)] if needed and not there else []

    def _hold(self) -> list[HoldUpgrades]:
        """Keep others away from what is still to be done."""
        wanted = {m.uid for n, m in self.members.items() if not self._settled(n)}
        others = {uid for uid, holder in self.firmware.holds.items() if holder != self.holder}
        mine = {uid for uid, holder in self.firmware.holds.items() if holder == self.holder}
        fresh = self.record.held_at is not None and self.now - self.record.held_at < RENEW
        if mine == wanted - others and (fresh or not mine):
            return []
        self.record.held_at = self.now
        return [HoldUpgrades(self.holder, tuple(sorted(wanted)), HOLD_SECONDS)]

    def _leave(self, reason: str, message: str, end: str) -> Step:
        """Begin nothing more, wait for what is under way, let go of the cameras, end."""
        if self.record.running:
            told = f"{message}; {_some(sorted(self.record.running))} under way are waited for"
            return self._say(reason, told, held=True, wait=SOON)
        if self.holder in self.firmware.holds.values():
            release = HoldUpgrades(self.holder, (), HOLD_SECONDS)
            return self._say(reason, message, actions=(release,), wait=SOON)
        return replace(self._say(reason, message), end="Complete" if end == "Complete" else "Failed")

    # -- words --------------------------------------------------------------------------------------

    def _say(
        self,
        reason: str,
        message: str,
        *,
        actions: tuple[Action, ...] = (),
        held: bool = False,
        wait: float | None = None,
        waiting: Mapping[str, Sequence[str]] | None = None,
    ) -> Step:
        record = self.record.to_status()
        record["progress"] = [self._wave_status(i) for i in range(len(self.record.waves))]
        record["waiting"] = {key: len(names) for key, names in (waiting or {}).items()}
        record["refused"] = {n: m.refused for n, m in sorted(self.members.items()) if self._is_refused(n)}
        index = len(self.record.waves) - 1
        return Step(
            self.spec.waves[index].name if index >= 0 else PENDING,
            reason,
            message,
            actions,
            wait if wait is not None or held else LOOK_AGAIN,
            held,
            done=len(self.record.done),
            total=len(self.taken),
            record=record,
        )

    def _is_refused(self, name: str) -> bool:
        return self.members[name].refused is not None and name not in self.record.done

    def _wave_status(self, index: int) -> dict[str, Any]:
        names = set(self.wave_members(index))
        return {
            "name": self.spec.waves[index].name,
            "total": len(names),
            "updated": len(names & self.record.done),
            "failed": len(names & set(self.record.failed)),
            "running": len(names & set(self.record.running)),
        }

    def _reasons(self) -> str:
        by: dict[str, list[str]] = {}
        for name, miss in sorted(self.record.failed.items()):
            by.setdefault(miss.reason, []).append(name)
        return "; ".join(f"{reason}: {_some(names)}" for reason, names in by.items())

    def _summary(self) -> str:
        record = self.record
        told = [f"{len(record.updated)} updated"]
        if record.already:
            told.append(f"{len(record.already)} had it already")
        if record.late:
            told.append(f"{record.late} came back late")
        if record.failed:
            told.append(f"{len(record.failed)} failed ({self._reasons()})")
        refused = [n for n in self.members if self._is_refused(n)]
        if refused:
            told.append(f"{len(refused)} refused ({_some(sorted(refused))})")
        return ", ".join(told)


class _Budget:
    """How many more may go dark, by group."""

    def __init__(self, decision: Round) -> None:
        budget = decision.spec.disruption_budget
        self._key, self._most = budget.group_by, budget.max_unavailable
        self._dark: dict[str, set[str]] = {}
        running = decision.record.running
        for document in decision.situation.cameras:
            uid = str(document.spec.get("uid"))
            away = bool(self._key) and not _present(decision.situation.devices.get(uid))
            if document.ref.name in running or (away and document.spec.get("access") != "Denied"):
                group = document.labels.get(self._key) if self._key else ""
                if group is not None:
                    self._dark.setdefault(group, set()).add(document.ref.name)

    def take(self, member: Member) -> bool:
        """Take this camera's place; False when its group has none left. A camera without a group has no limit."""
        group = member.group if self._key else ""
        if group is None:
            return True
        dark = self._dark.setdefault(group, set())
        if len(dark) >= self._most:
            return False
        dark.add(member.name)
        return True


def _present(device: DeviceFacts | None) -> bool:
    return device is not None and device.state in PRESENT


def _acknowledged(document: Document, edge: str, value: str) -> bool:
    entries = document.spec.get("acknowledge") or ()
    return any(isinstance(e, Mapping) and e.get("edge") == edge and e.get("value") == value for e in entries)


def _size(wave: Wave, total: int, left: int) -> int:
    if wave.count is not None:
        return min(wave.count, left)
    return min(ceil(total * (wave.percent or 100) / 100), left)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def preview(situation: Situation) -> Plan:
    """For `ropctl plan`: what it would reach, camera by camera, in the order of the waves."""
    document = situation.document
    hindrance = problem(situation)
    if hindrance is not None:
        return Plan(findings=(hindrance,))
    if ended(document) is not None or document.deleting is not None:
        return Plan()
    spec: FirmwareRolloutSpec = situation.spec
    chosen = [d for d in situation.cameras if d.deleting is None and selects(spec.selector, d.labels)]
    if not chosen:
        return Plan(findings=(Finding("Warning", "NothingSelected", "no Camera is selected", "spec.selector"),))
    waves = ", ".join(wave.name for wave in spec.waves)
    told = f"{len(chosen)} cameras in waves {waves}: at most {len(chosen)} reboots, each when its turn comes"
    return Plan(findings=(Finding("Info", "WaveByWave", told),))
