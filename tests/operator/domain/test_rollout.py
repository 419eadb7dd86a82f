"""FirmwareRollouts: who is upgraded next, when it goes on, when it stops."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rop_operator.api.facts import DeviceFacts, Document, FirmwareFacts, Ref, UpgradeFacts
from rop_operator.domain.operation import Situation, Step, decide, ended, run_status
from rop_operator.domain.plan import Done, HoldUpgrades, StartUpgrade, StoreImage
from rop_operator.domain.rollout import Seen, preview, roll
from rop_operator.domain.rollout_forecast import forecast

NOW = datetime(2026, 5, 4, 1, 0, 0, tzinfo=UTC)
SHA = "ab" * 32
OLD, NEW = "v3.1.0.1000_24010100", "v3.1.0.2000_25010100"
HOLDER = "FirmwareRollout video/spring"
ONE_WAVE = [{"name": "all"}]
MANY = {"maxUnavailable": 1000}


@dataclass
class Site:
    """Cameras c0, c1, ... on one server, and a rollout. Devices do what a test says."""

    home: Document
    facts: Any
    document: Document
    image: Document
    cameras: dict[str, Document] = field(default_factory=dict)
    devices: dict[str, DeviceFacts] = field(default_factory=dict)
    firmware: FirmwareFacts = field(default_factory=FirmwareFacts)
    now: datetime = NOW
    began: list[str] = field(default_factory=list)

    def camera(self, number: int, labels: dict[str, str] | None = None, **spec: Any) -> None:
        name, uid = f"c{number}", f"9527000{number:09d}"
        made = {"serverRef": {"name": "home"}, "uid": uid, **spec}
        labels = {"fleet": "yes", **(labels or {})}
        self.cameras[name] = Document(Ref("Camera", "video", name), f"u-{name}", 1, made, {}, labels=labels)
        self.devices[uid] = DeviceFacts(uid=uid, state="Online", model="E1", family="ipc", firmware=OLD)

    def uid(self, name: str) -> str:
        return str(self.cameras[name].spec["uid"])

    def device(self, name: str, **members: Any) -> None:
        uid = self.uid(name)
        self.devices[uid] = DeviceFacts.model_validate({**self.devices[uid].model_dump(), **members})

    def spec(self, **members: Any) -> None:
        self.document = replace(self.document, spec={**self.document.spec, **members})

    def later(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    @property
    def situation(self) -> Situation:
        seen = Seen(self.image, self.firmware)
        return Situation(
            self.document, self.now, self.home, self.facts, tuple(self.cameras.values()), dict(self.devices), seen
        )

    def step(self) -> Step:
        """Decide once and carry the step out; the server does as it is told."""
        before = self.situation
        step = decide(before, roll)
        assert step is not None
        for action in step.actions:
            match action:
                case StoreImage(file, sha256):
                    self.firmware = replace(self.firmware, files={file: sha256})
                case HoldUpgrades(holder, uids):
                    others = {u: h for u, h in self.firmware.holds.items() if h != holder}
                    self.firmware = replace(self.firmware, holds={**dict.fromkeys(uids, holder), **others})
                case StartUpgrade(camera=camera, uid=uid):
                    self.began.append(camera)
                    self.upgrade(camera, "upgrading", began_at=self.now, before=self.devices[uid].firmware)
        outcomes = [(action, Done()) for action in step.actions]
        self.document = replace(self.document, status=run_status(before, step, outcomes))
        return step

    def upgrade(self, name: str, status: str, **members: Any) -> None:
        uid = self.uid(name)
        known = self.firmware.upgrades.get(uid) or UpgradeFacts(uid=uid, holder=HOLDER, began_at=self.now)
        upgrades = {**self.firmware.upgrades, uid: known.model_copy(update={"status": status, **members})}
        self.firmware = replace(self.firmware, upgrades=upgrades)

    def installed(self, *names: str, version: str = NEW) -> None:
        for name in names:
            self.device(name, firmware=version)
            self.upgrade(name, "upgrade_success", ended_at=self.now)

    @property
    def record(self) -> dict[str, Any]:
        return dict(self.document.status["observed"])

    def condition(self, type_: str) -> tuple[str, str]:
        found = next(c for c in self.document.status["conditions"] if c["type"] == type_)
        return found["status"], found["reason"]


@pytest.fixture
def site(site: Any) -> Site:
    """The server of the shared fixture with a rollout of this file's."""
    image = Document(
        Ref("FirmwareImage", "video", "e1"),
        "i1",
        1,
        {"sha256": SHA, "version": NEW, "models": ["E1"], "source": {"upload": {}}},
        {"conditions": [{"type": "Ready", "status": "True", "reason": "Stored"}]},
    )
    spec = {
        "serverRef": {"name": "home"},
        "imageRef": {"name": "e1"},
        "selector": {"matchLabels": {"fleet": "yes"}},
        "waves": ONE_WAVE,
        "disruptionBudget": MANY,
    }
    document = Document(Ref("FirmwareRollout", "video", "spring"), "r1", 1, spec, {})
    made = Site(site.document, site.facts, document, image)
    for number in range(4):
        made.camera(number)
    return made


def test_one_wave_to_its_end(site: Site) -> None:
    site.step()
    assert sorted(site.began) == ["c0", "c1", "c2", "c3"]
    assert site.firmware.files == {f"{NEW}-{SHA[:12]}.pak": SHA}
    site.installed("c0", "c1", "c2", "c3")
    while ended(site.document) is None:
        site.step()
    assert ended(site.document) == "Complete"
    assert site.document.status["progress"]["summary"] == "4/4"
    assert site.firmware.holds == {}, "the cameras are everybody's again"


def test_the_file_is_stored_and_the_cameras_held_before_any_begins(site: Site) -> None:
    kinds = [type(action).__name__ for action in site.step().actions]
    assert kinds[:2] == ["HoldUpgrades", "StoreImage"]
    assert kinds[2:] == ["StartUpgrade"] * 4


def test_a_canary_comes_first_and_soaks(site: Site) -> None:
    site.spec(waves=[{"name": "canary", "count": 1, "soak": "10m"}, {"name": "rest"}])
    site.step()
    (canary,) = site.began
    site.installed(canary)
    site.step()
    assert site.condition("Progressing") == ("False", "Soaking")
    site.later(minutes=9)
    site.step()
    assert site.began == [canary]
    site.later(minutes=2)
    site.step()
    assert len(site.began) == 4


def test_a_camera_that_goes_dark_while_it_soaks_starts_the_soak_again(site: Site) -> None:
    site.spec(waves=[{"name": "canary", "count": 1, "soak": "10m"}, {"name": "rest"}])
    site.step()
    (canary,) = site.began
    site.installed(canary)
    site.step()
    site.later(minutes=9)
    site.device(canary, state="Offline")
    site.step()
    site.device(canary, state="Online")
    site.later(minutes=5)
    site.step()
    assert site.began == [canary]
    site.later(minutes=6)
    site.step()
    assert len(site.began) == 4


def test_a_wave_with_approval_waits_for_a_person(site: Site) -> None:
    site.spec(waves=[{"name": "canary", "count": 1}, {"name": "rest", "approval": True}])
    site.step()
    site.installed(*site.began)
    site.step()
    assert site.condition("Progressing") == ("False", "ApprovalPending")
    site.spec(approvedWaves=["rest"])
    site.step()
    assert len(site.began) == 4


def test_a_camera_that_has_the_version_is_not_touched(site: Site) -> None:
    site.device("c1", firmware=NEW)
    site.step()
    assert "c1" not in site.began
    assert site.record["already"] == ["c1"]


@pytest.mark.parametrize(
    ("members", "reason"),
    [({"model": "Other"}, "WrongModel"), ({"firmware": "v9.0.0.1_26010100"}, "Downgrade")],
)
def test_a_wrong_model_and_a_downgrade_need_a_word(site: Site, members: dict[str, Any], reason: str) -> None:
    site.device("c1", **members)
    site.step()
    assert "c1" not in site.began
    assert site.record["refused"] == {"c1": reason}
    value = {"WrongModel": "Other", "Downgrade": NEW}[reason]
    site.camera(5, acknowledge=[{"edge": reason, "value": value}])
    site.device("c5", **members)
    site.step()
    assert "c5" in site.began


def test_a_factory_reset_needs_a_word_for_each_camera(site: Site) -> None:
    site.spec(factoryReset=True)
    uid = f"9527000{7:09d}"
    site.camera(7, acknowledge=[{"edge": "FactoryReset", "value": uid}])
    (order,) = [a for a in site.step().actions if isinstance(a, StartUpgrade)]
    assert (order.camera, order.factory_reset) == ("c7", True)


def test_a_flat_battery_waits_and_a_charged_one_goes(site: Site) -> None:
    site.device("c0", family="battery", state="Asleep", battery={"percent": 20})
    site.device("c1", family="battery", state="Asleep", battery={"percent": 90})
    site.device("c2", family="battery", state="Asleep", battery=None)
    site.step()
    assert sorted(site.began) == ["c1", "c3"]
    assert site.record["waiting"] == {"BatteryLow": 1, "GateUnknown": 1}


def test_never_more_of_a_group_are_dark_than_allowed(site: Site) -> None:
    for number in range(6):
        site.camera(number, {"rop.dev/watch-group": "gate" if number < 4 else "yard"})
    site.device("c0", state="Offline")
    site.spec(disruptionBudget={"groupBy": "rop.dev/watch-group", "maxUnavailable": 1})
    site.step()
    assert len(site.began) == 1
    assert site.began[0] in ("c4", "c5"), "of the gate one is dark already"


def test_nothing_begins_outside_a_window_nor_in_its_last_part(site: Site) -> None:
    site.spec(windows=[{"schedule": "0 2 * * *", "duration": "1h", "cutoff": "20m"}])
    site.step()
    assert site.began == []
    assert site.condition("Progressing") == ("False", "OutsideWindow")
    site.now = NOW.replace(hour=2, minute=45)
    site.step()
    assert site.began == []
    site.now = (NOW + timedelta(days=1)).replace(hour=2, minute=5)
    site.step()
    assert len(site.began) == 4


@pytest.mark.parametrize(
    "window",
    [
        {"schedule": "0 2 30 2 *", "duration": "1h"},
        {"schedule": "0 2 * * *", "duration": "1h", "timeZone": "Mars/Crater"},
        {"schedule": "0 2 * * *", "duration": "10m", "cutoff": "20m"},
    ],
)
def test_a_window_that_never_opens_ends_the_rollout_with_a_word(site: Site, window: dict[str, str]) -> None:
    site.spec(windows=[window])
    step = site.step()
    assert (step.end, step.reason) == ("Failed", "WindowNeverOpens")
    assert site.began == []


def test_a_passing_failure_is_tried_again_and_a_lasting_one_is_not(site: Site) -> None:
    site.spec(thresholds={"failurePercent": 100})
    site.step()
    site.upgrade("c0", "low_battery", ended_at=site.now)
    site.upgrade("c1", "file_check_failed", ended_at=site.now)
    site.installed("c2", "c3")
    site.step()
    assert list(site.record["again"]) == ["c0"]
    assert site.record["failed"]["c1"]["reason"] == "FileCheckFailed"
    site.later(minutes=2)
    site.step()
    assert site.began.count("c0") == 2
    site.upgrade("c0", "low_battery", ended_at=site.now)
    site.step()
    assert site.record["failed"]["c0"]["reason"] == "LowBattery"


def test_a_camera_that_came_back_with_the_old_version_failed(site: Site) -> None:
    site.spec(attempts=1, thresholds={"failurePercent": 100})
    site.step()
    site.upgrade("c0", "unknown_error", ended_at=site.now)
    site.later(minutes=1)
    site.step()
    assert site.record["failed"]["c0"]["reason"] == "FellBack"


def test_one_that_comes_back_late_with_the_version_is_no_failure(site: Site) -> None:
    site.spec(attempts=1, thresholds={"failurePercent": 100})
    site.step()
    site.device("c0", state="Offline")
    site.upgrade("c0", "unknown_error", ended_at=site.now)
    site.later(minutes=1)
    site.step()
    assert site.record["failed"]["c0"]["reason"] == "NotReturned"
    site.device("c0", state="Online", firmware=NEW)
    site.step()
    assert (site.record["failed"], site.record["late"]) == ({}, 1)
    assert "c0" in site.record["updated"]


def test_too_many_failures_stop_it_and_running_ones_are_waited_for(site: Site) -> None:
    for number in range(4, 10):
        site.camera(number)
    site.spec(thresholds={"failurePercent": 10, "minSample": 2})
    site.step()
    for name in ("c0", "c1"):
        site.upgrade(name, "file_check_failed", ended_at=site.now)
    step = site.step()
    assert step.end is None
    assert site.condition("Progressing") == ("False", "ThresholdExceeded")
    site.installed(*(f"c{n}" for n in range(2, 10)))
    while ended(site.document) is None:
        site.step()
    assert site.condition("Failed") == ("True", "ThresholdExceeded")


def test_a_server_that_forgot_an_upgrade_does_not_stop_it(site: Site) -> None:
    """The server was restarted in the middle of a transfer: the camera is tried again."""
    site.step()
    site.step()
    site.firmware = replace(site.firmware, upgrades={})
    site.later(minutes=6)
    site.step()
    site.later(minutes=2)
    site.step()
    assert site.began.count("c0") == 2


def test_what_another_rollout_holds_waits(site: Site) -> None:
    site.firmware = replace(site.firmware, holds={site.uid("c0"): "FirmwareRollout video/older"})
    site.step()
    assert "c0" not in site.began
    assert site.record["waiting"] == {"OwnedByRollout": 1}


def test_abort_begins_nothing_more_and_lets_go(site: Site) -> None:
    site.spec(waves=[{"name": "canary", "count": 1}, {"name": "rest"}])
    site.step()
    site.spec(abort=True)
    site.installed(*site.began)
    while ended(site.document) is None:
        site.step()
    assert site.condition("Failed") == ("True", "Aborted")
    assert len(site.began) == 1
    assert site.firmware.holds == {}


def test_suspend_begins_nothing(site: Site) -> None:
    site.spec(suspend=True)
    step = site.step()
    assert step.reason == "Suspended"
    assert site.began == []


def test_a_camera_that_joins_is_of_the_last_wave(site: Site) -> None:
    site.spec(waves=[{"name": "canary", "count": 1}, {"name": "rest"}])
    site.step()
    site.camera(8)
    site.installed(*site.began)
    site.step()
    assert "c8" in site.began
    assert [wave["total"] for wave in site.record["progress"]] == [1, 4]


def test_one_that_leaves_the_selector_under_way_is_followed_to_its_end(site: Site) -> None:
    site.step()
    site.cameras["c0"] = replace(site.cameras["c0"], labels={})
    site.step()
    assert "c0" in site.record["running"]


def test_the_image_must_be_there(site: Site) -> None:
    site.image = replace(site.image, status={})
    assert site.step().reason == "ImageNotReady"
    assert site.began == []


def test_nothing_selected_is_told(site: Site) -> None:
    site.spec(selector={"matchLabels": {"fleet": "no"}})
    site.step()
    assert site.condition("Progressing") == ("False", "NothingSelected")


def test_the_preview_tells_reboots(site: Site) -> None:
    (finding,) = preview(site.situation).findings
    assert "4 cameras" in finding.message


# Forecast


def test_a_forecast_draws_the_waves_that_the_rollout_then_has(site: Site) -> None:
    for number in range(10):
        site.camera(number)
    site.spec(waves=[{"name": "first", "count": 2, "soak": "10m"}, {"name": "rest"}])
    found = forecast(site.situation)
    first, rest = found.waves
    assert (len(first.cameras), len(rest.cameras)) == (2, 8)
    assert set(first.cameras) | set(rest.cameras) == {f"c{n}" for n in range(10)}
    site.spec(disruptionBudget=MANY)
    site.step()
    assert sorted(site.began) == sorted(first.cameras)


def test_a_forecast_names_who_is_left_out_and_who_waits(site: Site) -> None:
    for number in range(5):
        site.camera(number)
    site.device("c0", model="Argus")
    site.device("c1", firmware=NEW)
    site.device("c2", state="Offline")
    site.spec(waves=ONE_WAVE, factoryReset=False)
    found = forecast(site.situation)
    assert found.refused == {"WrongModel": ("c0",)}
    assert found.already == ("c1",)
    assert found.waiting == {"DeviceOffline": ("c2",)}
    assert set(found.waves[0].cameras) == {"c2", "c3", "c4"}
    assert found.as_json()["reboots"] == 3


def test_a_forecast_counts_the_dark_of_each_group_and_the_rounds(site: Site) -> None:
    for number in range(7):
        site.camera(number, {"place": "yard" if number < 5 else "hall"})
    site.spec(waves=[{"name": "all", "soak": "10m"}], disruptionBudget={"groupBy": "place", "maxUnavailable": 2})
    found = forecast(site.situation)
    assert found.dark == {"hall": 2, "yard": 2}
    assert found.waves[0].rounds == 3
    assert found.at_most_seconds == 600 + 3 * found.dark_seconds


def test_a_forecast_tells_windows_and_what_can_never_be(site: Site) -> None:
    site.camera(0)
    site.spec(waves=ONE_WAVE, windows=[{"schedule": "0 3 * * *", "duration": "2h"}])
    found = forecast(site.situation)
    assert (found.window_open, found.next_window) == (False, "2026-05-04T03:00:00Z")
    site.spec(windows=[{"schedule": "0 3 31 2 *", "duration": "2h"}], selector={"matchLabels": {"fleet": "no"}})
    assert [each.reason for each in forecast(site.situation).findings] == ["WindowNeverOpens", "NothingSelected"]
    site.image = None  # type: ignore[assignment]
    assert [each.reason for each in forecast(site.situation).findings] == ["ImageNotFound"]
