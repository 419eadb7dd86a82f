"""Decisions and status of one camera."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rop_operator.api.facts import DeviceFacts, WriteResult
from rop_operator.domain.describe import describe, totals
from rop_operator.domain.plan import Done, Failed, HandOver, SetAccess, SetFinalizer, Wait, WriteSettings
from rop_operator.domain.status import device_facts_of

PIR = {"enabled": True, "sensitivity": 60, "reduceMistakes": True}
PIR_KNOWN = {f"pir.{name}": value for name, value in PIR.items()}


def test_a_camera_in_sync_needs_nothing(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Door", settings={"pir": PIR})
    scene.device = a_device(settings={"displayName": "Door", **PIR_KNOWN})
    assert scene.plan.actions == ()
    assert scene.plan.wait == 540.0
    assert scene.condition("Ready") == ("True", "Ready")
    assert scene.condition("Reconciling") == ("False", "Reconciled")
    assert scene.condition("Stalled")[0] == "False"
    assert scene.condition("SettingsInSync") == ("True", "InSync")
    assert scene.condition("Provisioned") == ("True", "AlreadyTalking")


def test_the_status_is_stable_and_transitions_keep_their_time(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Door")
    scene.device = a_device(settings={"displayName": "Door"})
    first = scene.status()
    scene.later(60)
    scene.device = scene.device.model_copy(update={"last_seen": scene.now, "wakes": 0})
    assert scene.status() == first
    scene.device = a_device("Offline", settings={"displayName": "Door"})
    second = scene.status()
    moved = {c["type"] for c in second["conditions"] if c["lastTransitionTime"] == "2026-05-04T12:01:00Z"}
    assert moved == {"Ready", "Online"}


def test_the_finalizer_comes_before_the_first_contact(scene: Any) -> None:
    scene.document = replace(scene.document, finalizers=())
    scene.spec(provision={"lan": {}})
    assert [type(a) for a in scene.plan.actions] == [SetFinalizer, HandOver]


def test_a_changed_name_is_one_write(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Door")
    scene.device = a_device(settings={"displayName": "Mallory"})
    (action,) = scene.plan.actions
    assert action == WriteSettings(scene.document.spec["uid"], {"displayName": "Door"}, ("displayName",), False)
    assert describe(action) == "write displayName = 'Door' (1 write, 0 wakes)"
    assert scene.condition("SettingsInSync") == ("False", "Writing")
    assert scene.condition("Ready") == ("False", "Writing")
    assert scene.condition("Reconciling")[0] == "True"


def test_writes_to_a_sleeping_camera_are_one_wake(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Gate", settings={"pir": PIR, "alarm": {"enabled": False}})
    scene.device = a_device("Asleep", family="battery", settings={"displayName": "x"})
    (action,) = scene.plan.actions
    assert set(action.write) == {"displayName", *PIR_KNOWN, "alarm.enabled"}
    assert (action.device_writes, action.wakes, action.reboots) == (3, 1, 0)
    assert "3 writes, 1 wake" in describe(action)
    assert scene.condition("Online") == ("True", "Asleep")
    assert scene.condition("Ready") == ("True", "Ready")


def test_a_sleeping_camera_is_never_read(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Gate").later(86400)
    for state in ("Asleep", "Online"):
        scene.device = a_device(state, family="battery", settings={"displayName": "Gate"})
        assert scene.plan.actions == ()


def test_old_values_of_a_wired_camera_are_read_again(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Door")
    scene.device = a_device(settings={"displayName": "Door"})
    scene.later(539)
    assert scene.plan.actions == ()
    scene.later(1)
    (action,) = scene.plan.actions
    assert (action.write, action.read, action.wakes) == ({}, ("displayName",), 0)
    assert scene.condition("Ready") == ("True", "Ready")


def test_a_request_reads_at_once(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Door")
    scene.device = a_device(settings={"displayName": "Door"})
    asked = {"rop.dev/requestedAt": (scene.now - timedelta(seconds=1)).isoformat()}
    scene.document = replace(scene.document, annotations=asked)
    assert scene.plan.actions[0].read == ("displayName",)


def test_report_shows_and_never_writes(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Door", policy={"default": "Report"})
    scene.device = a_device(settings={"displayName": "Mal\x1b[2Jlory"})
    assert scene.plan.actions == ()
    assert scene.condition("SettingsInSync") == ("False", "Drift")
    assert scene.condition("Ready") == ("True", "Ready")
    (finding,) = scene.plan.findings
    assert finding.reason == "Drift"
    assert "\x1b" not in finding.message


def test_the_longest_override_wins(scene: Any, a_device: Any) -> None:
    overrides = [
        {"field": "settings.pir", "mode": "Ignore"},
        {"field": "settings.pir.sensitivity", "mode": "Enforce"},
        {"field": "displayName", "mode": "Report"},
    ]
    scene.spec(displayName="Door", settings={"pir": PIR}, policy={"overrides": overrides})
    scene.device = a_device(settings={"displayName": "x", **PIR_KNOWN, "pir.enabled": False, "pir.sensitivity": 1})
    (action,) = scene.plan.actions
    assert action.write == {"pir.sensitivity": 60}


def test_a_repaired_drift_is_told(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Door")
    scene.device = a_device(settings={"displayName": "Door"})
    scene.status()
    scene.device = a_device(settings={"displayName": "Mallory"})
    assert [f.reason for f in scene.plan.findings] == ["DriftRepaired"]
    scene.spec(displayName="Gate")
    assert scene.plan.findings == ()


def test_an_offline_camera_waits(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Door")
    scene.device = a_device("Offline", settings={"displayName": "x"})
    assert scene.plan.actions == ()
    assert scene.condition("SettingsInSync") == ("False", "DeviceOffline")
    assert scene.condition("Ready") == ("False", "DeviceOffline")
    assert scene.condition("Stalled")[0] == "False"
    assert scene.condition("Accepted")[0] == "True"


def test_a_refused_write_is_not_repeated_at_once(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Door")
    scene.device = a_device("Asleep", family="battery", settings={"displayName": "x"})
    (action,) = scene.plan.actions
    result = WriteResult(True, (), {}, {"displayName": "cmd_timeout"})
    assert scene.condition("SettingsInSync", [(action, Done(result))]) == ("False", "CmdTimeout")
    before = scene.status()
    scene.later(60)
    assert scene.plan.actions == ()
    assert scene.plan.wait == 3540.0
    assert scene.status() == before
    scene.later(3540)
    assert len(scene.plan.actions) == 1
    scene.later(-3000)
    assert len(scene.spec(displayName="Other").plan.actions) == 1


def test_a_failure_is_forgotten_when_in_sync(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Door")
    scene.device = a_device(settings={"displayName": "x"})
    (action,) = scene.plan.actions
    scene.status([(action, Wait(5, "DeviceOffline", "gone"))])
    assert scene.document.status["settings"]["lastFailure"]["reason"] == "DeviceOffline"
    scene.device = a_device(settings={"displayName": "Door"})
    assert "lastFailure" not in scene.status()["settings"]


def test_suspend_writes_nothing_but_denies(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Door", suspend=True)
    scene.device = a_device(settings={"displayName": "x"})
    assert scene.plan.actions == ()
    assert scene.condition("SettingsInSync") == ("False", "Suspended")
    scene.spec(access="Denied")
    assert [type(a) for a in scene.plan.actions] == [SetAccess]


def test_denied(scene: Any, a_device: Any) -> None:
    scene.spec(access="Denied", displayName="Door", provision={"lan": {}})
    scene.device = a_device(settings={"displayName": "x"})
    assert scene.plan.actions == (SetAccess(scene.snapshot.uid, "Denied"),)
    scene.device = a_device("Offline", access="Denied")
    assert scene.plan.actions == ()
    assert scene.condition("Online") == ("False", "Denied")
    assert scene.condition("Ready") == ("True", "Denied")
    scene.spec(access="Allowed")
    assert scene.plan.actions[0] == SetAccess(scene.snapshot.uid, "Allowed")


@pytest.mark.parametrize(
    ("days", "wanted"), [(100, ("True", "Valid")), (3, ("False", "RenewalOverdue")), (-1, ("False", "Expired"))]
)
def test_certificates(scene: Any, a_device: Any, days: int, wanted: tuple[str, str]) -> None:
    ends = scene.now + timedelta(days=days)
    scene.device = a_device(certificate={"serial": "1", "notAfter": ends})
    assert scene.condition("CertificateValid") == wanted
    assert scene.condition("Ready")[0] == ("False" if days < 0 else "True")


def test_without_a_server(scene: Any) -> None:
    scene.home = None
    assert scene.plan.actions == ()
    assert scene.condition("Accepted") == ("False", "ServerNotFound")
    assert scene.condition("Stalled")[0] == "False"


def test_an_unreachable_server(scene: Any, a_device: Any, some_facts: Any) -> None:
    scene.spec(displayName="Door")
    scene.device = a_device(settings={"displayName": "Door"})
    scene.status()
    scene.server = some_facts(reachable=False)
    assert scene.plan.actions == ()
    assert scene.condition("Ready") == ("False", "ServerNotReady")
    assert scene.condition("Online") == ("Unknown", "ServerNotReady")
    assert scene.condition("SettingsInSync") == ("True", "InSync")


def test_an_invalid_document(scene: Any) -> None:
    scene.spec(displayName=" x ")
    assert scene.plan.actions == ()
    assert scene.condition("Accepted") == ("False", "Invalid")
    assert scene.condition("Stalled") == ("True", "Invalid")


def test_the_oldest_claim_acts(scene: Any, a_camera: Any, a_device: Any) -> None:
    scene.device = a_device()
    scene.rivals = [a_camera("older", age=500)]
    assert scene.plan.actions == ()
    assert scene.condition("Accepted") == ("False", "DuplicateUID")
    assert scene.condition("Stalled") == ("True", "DuplicateUID")
    scene.rivals = [replace(a_camera("older", age=500), deleting=scene.now), a_camera("younger", age=1)]
    assert scene.condition("Accepted")[0] == "True"


def test_polled_servers(scene: Any, a_device: Any, some_facts: Any) -> None:
    scene.server = some_facts(interface="ClientAPI", fence=None)
    scene.document = replace(scene.document, finalizers=())
    scene.spec(displayName="Door")
    scene.device = a_device(certificate=None, settings={"displayName": "x"})
    assert [type(a) for a in scene.plan.actions] == [WriteSettings]
    assert [f.reason for f in scene.plan.findings] == ["PollingOnly"]
    assert scene.condition("CertificateValid") == ("Unknown", "NotObservable")
    scene.spec(access="Denied")
    assert scene.plan.actions == ()
    assert scene.condition("Stalled") == ("True", "NotSupported")


def test_what_was_written_is_remembered_where_the_server_cannot_tell(
    scene: Any, a_device: Any, some_facts: Any
) -> None:
    scene.server = some_facts(interface="ClientAPI", fence=None)
    scene.spec(displayName="Gate")
    scene.device = a_device("Asleep", family="battery", settings={"displayName": "Gate"})
    scene.status()
    scene.device = a_device("Asleep", family="battery")
    assert scene.plan.actions == ()


def test_facts_come_back_from_the_status(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Gate")
    scene.device = a_device(
        "Asleep", family="battery", wakes=2, settings={"displayName": "Gate", "alarm.enabled": True}
    )
    status = scene.status()
    facts = device_facts_of(status, scene.snapshot.uid)
    assert isinstance(facts, DeviceFacts)
    assert (facts.state, facts.family, facts.wakes, facts.on_battery) == ("Asleep", "battery", 2, True)
    assert facts.settings["displayName"].value == "Gate"
    assert device_facts_of({}, "x") is None
    assert device_facts_of({"observed": {"state": "Lost"}}, "x") is None


def test_an_outcome_becomes_the_condition(scene: Any) -> None:
    scene.spec(provision={"lan": {}})
    (action,) = scene.plan.actions
    outcome = Wait(30, "NotReachableFromHere", "no camera answered on the LAN")
    assert scene.condition("Provisioned", [(action, outcome)]) == ("False", "NotReachableFromHere")
    assert scene.condition("Provisioned") == ("False", "NotReachableFromHere")
    failed = Failed("NotSupported", "no")
    assert scene.condition("Stalled", [(action, failed)]) == ("True", "NotSupported")


def test_a_plan_says_what_follows_a_hand_over(scene: Any, a_device: Any) -> None:
    scene.spec(provision={"lan": {}}, displayName="Door", settings={"pir": PIR})
    assert [type(a) for a in scene.plan.actions] == [HandOver]
    (later,) = scene.plan.later
    assert (later.device_writes, later.wakes) == (2, 1)  # nobody knows yet whether it runs on battery
    assert totals([scene.plan]).endswith("; then at most 2 device writes and 1 wake when cameras are online.")
    scene.device = a_device("Offline", family="powered", settings={"displayName": "Mallory", **PIR_KNOWN})
    assert scene.plan.actions == ()
    (later,) = scene.plan.later
    assert (dict(later.write), later.wakes) == ({"displayName": "Door"}, 0)
