"""`ropctl plan`: from documents and their status alone, what the engine will do."""

from dataclasses import replace
from typing import Any

from rop_operator.api.facts import BackupFacts, Document, Ref
from rop_operator.documents import load, parse_all
from rop_operator.domain.describe import describe, totals
from rop_operator.domain.plan import (
    Done,
    EnsureRuntime,
    HandOver,
    ReplaceClaims,
    SetAccess,
    StopRuntime,
    WriteSettings,
)
from rop_operator.domain.preview import applied, change_of, plan_delete, plan_for, transition_errors

SERVER = """
apiVersion: rop.dev/v1alpha1
kind: RopServer
metadata: {name: home, namespace: video}
spec: {host: rop.example.net}
"""
CAMERA = """
apiVersion: rop.dev/v1alpha1
kind: Camera
metadata: {name: front-door, namespace: video}
spec: {serverRef: {name: home}, uid: 952700010000ABCD, displayName: Door, provision: {attempt: 1, lan: {}}}
"""
HOME, DOOR = Ref("RopServer", "video", "home"), Ref("Camera", "video", "front-door")


def documents(*texts: str) -> Any:
    return parse_all(load("\n---\n".join(texts), "fleet.yaml")).documents


def stored(scene: Any, site: Any, a_device: Any, state: str = "Online") -> list[Document]:
    """Both documents as a settled engine left them."""
    scene.document = replace(scene.document, spec=documents(CAMERA)[0].spec)
    scene.device = a_device(state, settings={"displayName": "Door"})
    scene.status()
    site.cameras = [scene.document]
    site.status([(a, Done()) for a in site.plan.actions if isinstance(a, ReplaceClaims)])
    return [site.document, scene.document]


def test_a_new_fleet_shows_everything(scene: Any) -> None:
    plans = dict(plan_for(documents(CAMERA, SERVER), [], scene.now))
    assert list(plans) == [HOME, DOOR]
    assert [type(a) for a in plans[HOME].actions] == [EnsureRuntime]
    assert HandOver in [type(a) for a in plans[DOOR].actions]
    assert "device write, 0 wakes" in totals(list(plans.values()))
    assert any("one-way" in describe(a) for a in plans[DOOR].actions)


def test_an_unchanged_fleet_shows_nothing(scene: Any, site: Any, a_device: Any) -> None:
    current = stored(scene, site, a_device)
    new = documents(SERVER, CAMERA)
    assert [plan.actions for _, plan in plan_for(new, current, scene.now)] == [(), ()]
    assert [change_of(p, d) for p, d in zip(new, current, strict=True)] == ["unchanged", "unchanged"]


def test_a_changed_name_of_a_sleeping_camera(scene: Any, site: Any, a_device: Any) -> None:
    current = stored(scene, site, a_device, "Asleep")
    new = documents(CAMERA.replace("displayName: Door", "displayName: Gate"))
    plans = dict(plan_for(new, current, scene.now))
    (action,) = plans[DOOR].actions
    assert isinstance(action, WriteSettings)
    assert (action.write, action.wakes) == ({"displayName": "Gate"}, 1)
    assert plans[HOME].actions == ()
    assert change_of(new[0], current[1]) == "configured"


def test_the_plan_is_the_one_the_engine_makes(scene: Any, site: Any, a_device: Any) -> None:
    current = stored(scene, site, a_device)
    new = documents(CAMERA.replace("displayName: Door", "displayName: Gate"))
    shown = dict(plan_for(new, current, scene.now))[DOOR]
    scene.document = applied(new, current, scene.now)[DOOR]
    assert shown.actions == scene.plan.actions


def test_a_new_camera_changes_the_claims(scene: Any, site: Any, a_device: Any) -> None:
    current = stored(scene, site, a_device)
    new = documents(CAMERA.replace("front-door", "yard").replace("ABCD", "WXYZ"))
    plans = dict(plan_for(new, current, scene.now))
    assert [type(a) for a in plans[HOME].actions] == [ReplaceClaims]


def test_changed_config(scene: Any, site: Any, a_device: Any) -> None:
    current = stored(scene, site, a_device)
    new = documents(SERVER.replace("spec: {", "spec: {enrolment: {codeExpiry: 90s}, "))
    (action,) = dict(plan_for(new, current, scene.now))[HOME].actions
    assert describe(action) == "set authCode.expiredIn = 90 (live)"


def test_a_new_sink_is_shown_masked(scene: Any, site: Any, a_device: Any) -> None:
    current = stored(scene, site, a_device)
    sink = "alarms: {sinks: [{name: ops, urlRef: {name: alarm, key: url}}]}, "
    new = documents(SERVER.replace("spec: {", f"spec: {{{sink}"))
    (action,) = dict(plan_for(new, current, scene.now))[HOME].actions
    assert "alarm.notificationURL = (secret)" in describe(action)


def test_defaults_filled_in_by_an_api_server_are_no_change(scene: Any, site: Any, a_device: Any) -> None:
    current = stored(scene, site, a_device)
    filled = replace(current[1], spec={**current[1].spec, "access": "Allowed", "deletionPolicy": "Revoke"})
    assert change_of(documents(CAMERA)[0], filled) == "unchanged"
    (ref, plan), *_ = plan_for(documents(CAMERA), [current[0], filled], scene.now)[1:]
    assert (ref, plan.actions) == (DOOR, ())


def test_rules_over_two_versions(scene: Any, site: Any, a_device: Any) -> None:
    current = stored(scene, site, a_device)
    (error,) = transition_errors(documents(CAMERA.replace("ABCD", "WXYZ")), current)
    assert error.field == "spec.uid"
    assert "document 1 (Camera/video/front-door)" in str(error)
    assert transition_errors(documents(CAMERA, SERVER), current) == []


def test_deleting(scene: Any, site: Any, a_device: Any) -> None:
    current = stored(scene, site, a_device)
    plans = dict(plan_delete([DOOR], current, scene.now))
    assert isinstance(plans[DOOR].actions[0], SetAccess)
    assert [type(a) for a in plans[HOME].actions] == [ReplaceClaims]
    plans = dict(plan_delete([HOME, DOOR], current, scene.now))
    assert plans[HOME].actions == (StopRuntime(),)
    assert SetAccess not in [type(a) for a in plans[DOOR].actions]


def test_renaming_writes_nothing_to_the_device(scene: Any, site: Any, a_device: Any) -> None:
    current = stored(scene, site, a_device)
    new = documents(CAMERA.replace("front-door", "porch"))
    plans = dict(plan_for(new, current, scene.now))
    assert sum(a.device_writes for plan in plans.values() for a in plan.actions) == 0


BACKUP = """
apiVersion: rop.dev/v1alpha1
kind: RopServer
metadata: {name: home, namespace: video}
spec:
  host: rop.example.net
  backup:
    recipients: [{name: a, key: age1qqqqqqqqqqqq}, {name: b, key: age1zzzzzzzzzzzz}]
    targets: [{name: disk, directory: {path: /mnt/backup}}]
"""


def test_a_backup_policy_is_shown_when_it_changes(scene: Any, site: Any, a_device: Any) -> None:
    site.facts = site.facts.model_copy(update={"backup": BackupFacts(configured=False)})
    current = stored(scene, site, a_device)
    plan = dict(plan_for(documents(BACKUP), current, scene.now))[HOME]
    assert [describe(a) for a in plan.actions] == ["back the keys up to disk, to be opened by a, b"]
    site.document = replace(site.document, spec=documents(BACKUP)[0].spec)
    site.facts = site.facts.model_copy(update={"backup": BackupFacts(configured=True, covered=True)})
    site.status()
    plan = dict(plan_for(documents(BACKUP), [site.document, scene.document], scene.now))[HOME]
    assert plan.actions == ()
    moved = BACKUP.replace("/mnt/backup", "/mnt/other")
    plan = dict(plan_for(documents(moved), [site.document, scene.document], scene.now))[HOME]
    assert len(plan.actions) == 1
