"""Rollouts of random fleets under random faults: what must hold whatever happens and in which order.

The machine plays the server, the cameras, the clock and the engine's crashes. What it checks is its own truth, not
the rollout's record: an order is judged at the moment at which the server gets it.
"""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rop_operator.api.facts import DeviceFacts, Document, FirmwareFacts, Ref, ServerFacts, UpgradeFacts
from rop_operator.domain.operation import Outcomes, Situation, decide, ended, run_status
from rop_operator.domain.plan import Done, HoldUpgrades, StartUpgrade, StoreImage, Wait
from rop_operator.domain.rollout import Seen, roll

pytestmark = pytest.mark.timeout(600)

BEGIN = datetime(2026, 3, 28, 20, 0, tzinfo=UTC)
OLD, NEW, NEWER = "v3.1.0.1_25010100", "v3.2.0.1_26010100", "v3.3.0.1_27010100"
SHA, HOLDER = "ab" * 32, "FirmwareRollout video/spring"
GROUPS = ("north", "south", None)
# Two in the morning does not exist in Berlin in the second night of a run.
WINDOW = {"schedule": "0 2 * * *", "duration": "2h", "cutoff": "30m", "timeZone": "Europe/Berlin", "jitter": "10m"}
REFUSALS = ("failed", "file_check_failed", "out_of_memory", "low_battery", "unknown_error")


@dataclass
class Truth:
    """One camera as it is."""

    uid: str
    model: str
    group: str | None
    firmware: str
    battery: int | None
    state: str = "Online"
    told: bool = True
    upgrading: bool = False
    orders: int = 0


CAMERA = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["E1", "E1", "E1", "Duo"]),
        "group": st.sampled_from(GROUPS),
        "firmware": st.sampled_from([OLD, OLD, OLD, NEW, NEWER]),
        "battery": st.sampled_from([None, None, 90, 10]),
        "state": st.sampled_from(["Online", "Online", "Online", "Offline"]),
    }
)
WAVES = st.sampled_from(
    [
        [{"name": "all"}],
        [{"name": "canary", "count": 1, "soak": "10m"}, {"name": "rest"}],
        [{"name": "some", "percent": 30}, {"name": "more", "percent": 50, "approval": True}, {"name": "rest"}],
    ]
)
SPEC = st.fixed_dictionaries(
    {
        "waves": WAVES,
        "disruptionBudget": st.sampled_from(
            [
                {"maxUnavailable": 2},
                {"groupBy": "group", "maxUnavailable": 1},
                {"groupBy": "group", "maxUnavailable": 2},
            ]
        ),
        "windows": st.sampled_from([[], [WINDOW]]),
        "attempts": st.integers(1, 3),
        "thresholds": st.sampled_from([{}, {"successPercent": 50, "failurePercent": 60}, {"failurePercent": 0}]),
    }
)


class RolloutMachine(RuleBasedStateMachine):
    """A server, cameras, one rollout, and an engine that may die between any two things."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGIN
        self.cameras: dict[str, Truth] = {}
        self.files: dict[str, str] = {}
        self.holds: dict[str, str] = {}
        self.upgrades: dict[str, UpgradeFacts] = {}
        self.ended_with_orders: int | None = None
        self.aborted = False

    @initialize(cameras=st.lists(CAMERA, min_size=1, max_size=8), spec=SPEC)
    def fleet(self, cameras: list[dict[str, Any]], spec: dict[str, Any]) -> None:
        for number, members in enumerate(cameras):
            self.cameras[f"c{number}"] = Truth(f"9527000{number:09d}", **members)
        self.spec = {
            "serverRef": {"name": "home"},
            "imageRef": {"name": "e1"},
            "selector": {"matchLabels": {"fleet": "yes"}},
            **spec,
        }
        self.document = Document(Ref("FirmwareRollout", "video", "spring"), "r1", 1, self.spec, {})
        image = {"sha256": SHA, "version": NEW, "models": ["E1"], "source": {"upload": {}}}
        ready = {"conditions": [{"type": "Ready", "status": "True", "reason": "Stored"}]}
        self.image = Document(Ref("FirmwareImage", "video", "e1"), "i1", 1, image, ready)

    # What the engine sees

    def situation(self) -> Situation:
        home = Document(Ref("RopServer", "video", "home"), "s1", 1, {"host": "rop.example.net"}, {})
        documents = tuple(self.camera_document(name) for name in self.cameras)
        devices = {truth.uid: self.facts(truth) for truth in self.cameras.values() if truth.told}
        seen = Seen(self.image, FirmwareFacts(dict(self.files), dict(self.upgrades), dict(self.holds)))
        server = ServerFacts(reachable=True, ready=True)
        return Situation(self.document, self.now, home, server, documents, devices, seen)

    def camera_document(self, name: str) -> Document:
        truth = self.cameras[name]
        labels = {"fleet": "yes"} | ({"group": truth.group} if truth.group else {})
        spec = {"serverRef": {"name": "home"}, "uid": truth.uid}
        return Document(Ref("Camera", "video", name), f"u-{name}", 1, spec, {}, labels=labels)

    def facts(self, truth: Truth) -> DeviceFacts:
        battery = {"percent": truth.battery, "charge": "none"} if truth.battery is not None else None
        return DeviceFacts.model_validate(
            {
                "uid": truth.uid,
                "state": truth.state,
                "model": truth.model,
                "family": "battery" if battery else "ipc",
                "firmware": truth.firmware,
                "battery": battery,
            }
        )

    # What the engine does

    @rule(crash=st.sampled_from(["no", "no", "no", "before", "half", "after"]))
    def look(self, crash: str) -> None:
        """One step; with a crash only a part of it happens, and what it would have written last is lost."""
        before = self.situation()
        step = decide(before, roll)
        if step is None:
            return
        if step.actions:
            announced = run_status(before, step)
            self.document = replace(self.document, status=announced)
            if crash == "before":
                return
            before = replace(before, document=self.document)
        actions = step.actions[: len(step.actions) // 2] if crash == "half" else step.actions
        outcomes: Outcomes = [(action, self.carry_out(action)) for action in actions]
        if crash in ("half", "after") and step.actions:
            return
        self.document = replace(self.document, status=run_status(before, step, outcomes))

    def carry_out(self, action: Any) -> Any:
        match action:
            case StoreImage(file, sha256):
                self.files[file] = sha256
            case HoldUpgrades(holder, uids):
                kept = {uid: other for uid, other in self.holds.items() if other != holder}
                self.holds = {**dict.fromkeys(uids, holder), **kept}
            case StartUpgrade():
                return self.order(action)
        return Done()

    def order(self, order: StartUpgrade) -> Any:
        """The server gets an order: here it is judged."""
        truth = self.cameras[order.camera]
        assert self.files.get(order.file) == SHA, "the file is there before anybody is ordered to install it"
        assert self.ended_with_orders is None, "an ended rollout orders nothing"
        assert not self.aborted, "an aborted one neither"
        assert self.document.spec.get("suspend") is not True, "nor a suspended one"
        if truth.upgrading:
            return Done("duplicate_upgrade")
        assert truth.model == "E1", "never an image for another model"
        assert truth.firmware == OLD, "never a downgrade, never what it has"
        assert truth.battery is None or truth.battery >= 40, "never on a flat battery"
        self.judge_window()
        self.judge_budget(order.camera)
        truth.orders += 1
        if truth.state == "Offline":
            return Wait(5.0, "DeviceOffline", "it is not there")
        truth.upgrading = True
        self.upgrades[truth.uid] = UpgradeFacts(
            uid=truth.uid, status="upgrading", holder=HOLDER, began_at=self.now, before=truth.firmware
        )
        return Done()

    def judge_window(self) -> None:
        if self.spec["windows"]:
            # In March Berlin is an hour ahead of UTC, then two; the window that does not exist opens at three.
            opens = {28: 1, 29: 1}.get(self.now.day, 0)
            minutes = (self.now.hour - opens) * 60 + self.now.minute
            assert 0 <= minutes <= 90, f"{self.now} is outside of every window"

    def judge_budget(self, name: str) -> None:
        budget, group = self.spec["disruptionBudget"], self.cameras[name].group
        dark = {n for n, t in self.cameras.items() if t.upgrading and n != name}
        if "groupBy" in budget:
            if group is None:
                return
            dark |= {n for n, t in self.cameras.items() if t.state == "Offline" and n != name}
            dark = {n for n in dark if self.cameras[n].group == group}
        assert len(dark) < budget["maxUnavailable"], f"{sorted(dark)} are dark already"

    # What people and the world do

    @rule(minutes=st.sampled_from([1, 6, 11, 45, 120, 360]))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(data=st.data(), outcome=st.sampled_from(["new", "new", "new", "old", "never", *REFUSALS]))
    @precondition(lambda self: any(t.upgrading for t in self.cameras.values()))
    def an_upgrade_ends(self, data: st.DataObject, outcome: str) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, t in self.cameras.items() if t.upgrading)))
        truth = self.cameras[name]
        truth.upgrading = False
        known = self.upgrades.get(truth.uid)
        status = {"new": "upgrade_success", "old": "unknown_error", "never": "unknown_error"}.get(outcome, outcome)
        if known is not None:
            self.upgrades[truth.uid] = known.model_copy(update={"status": status, "ended_at": self.now})
        if outcome == "new":
            truth.firmware, truth.state = NEW, "Online"
        elif outcome == "never":
            truth.state = "Offline"

    @rule(data=st.data(), state=st.sampled_from(["Online", "Offline", "Asleep"]))
    def a_camera_changes(self, data: st.DataObject, state: str) -> None:
        truth = self.cameras[data.draw(st.sampled_from(sorted(self.cameras)))]
        if not truth.upgrading:
            truth.state = state if state != "Asleep" or truth.battery is not None else "Online"

    @rule(data=st.data(), battery=st.sampled_from([5, 95]))
    def a_battery_changes(self, data: st.DataObject, battery: int) -> None:
        truth = self.cameras[data.draw(st.sampled_from(sorted(self.cameras)))]
        truth.battery = battery if truth.battery is not None else None

    @rule()
    def the_server_restarts(self) -> None:
        """It forgets upgrades and holds; transfers end, cameras keep what they had."""
        self.upgrades, self.holds = {}, {}
        for truth in self.cameras.values():
            truth.upgrading = False

    @rule()
    def somebody_removes_the_file(self) -> None:
        if not any(t.upgrading for t in self.cameras.values()):
            self.files = {}

    @rule(members=CAMERA)
    @precondition(lambda self: len(self.cameras) < 10)
    def a_camera_joins(self, members: dict[str, Any]) -> None:
        number = len(self.cameras)
        self.cameras[f"c{number}"] = Truth(f"9527000{number:09d}", **members)

    @rule(suspend=st.booleans())
    def suspend(self, suspend: bool) -> None:
        self.change(suspend=suspend)

    @rule()
    def approve(self) -> None:
        self.change(approvedWaves=["more"])

    @rule(sure=st.integers(0, 9))
    def abort(self, sure: int) -> None:
        if sure == 0:
            self.aborted = self.aborted or ended(self.document) is None
            self.change(abort=True)

    def change(self, **members: Any) -> None:
        self.document = replace(self.document, spec={**self.document.spec, **members})

    # What always holds

    @invariant()
    def an_end_is_the_end(self) -> None:
        if not hasattr(self, "document"):
            return
        end = ended(self.document)
        orders = sum(truth.orders for truth in self.cameras.values())
        if end is not None and self.ended_with_orders is None:
            self.ended_with_orders = orders
            assert (end, self.aborted) != ("Complete", True)
        assert self.ended_with_orders in (None, orders)

    @invariant()
    def every_camera_has_one_place(self) -> None:
        if not hasattr(self, "document"):
            return
        kept = self.document.status.get("observed") or {}
        places = Counter(
            n for key in ("running", "again", "failed", "updated", "already") for n in kept.get(key, ())
        )
        assert all(count == 1 for count in places.values()), places
        assert set(places) <= set(self.cameras)
        conditions = self.document.status.get("conditions", ())
        assert all(c["reason"] for c in conditions)

    @invariant()
    def attempts_are_bounded(self) -> None:
        """A restart of the server forgets, so it may cost one order more; nothing else may."""
        if not hasattr(self, "document"):
            return
        kept = self.document.status.get("observed") or {}
        for entries in (kept.get("running", {}), kept.get("again", {}), kept.get("failed", {})):
            assert all(entry["tries"] <= self.spec["attempts"] for entry in entries.values()), entries


def test_a_rollout_keeps_its_promises_whatever_happens() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        RolloutMachine,
        settings=settings(
            max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
