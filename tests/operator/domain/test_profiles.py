"""Profiles: what a camera is wanted to be, where each piece comes from, and conflicts."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rop_operator.api.facts import Document, Ref
from rop_operator.api.parse import camera_spec
from rop_operator.domain.plan import WriteSettings
from rop_operator.domain.profile_status import ProfileSnapshot, plan_profile, profile_status, rows, wanted_of
from rop_operator.domain.profiles import Profile, merge, profile_of

UID = "952700010000ABCD"
NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)


def document(name: str, **spec: Any) -> Document:
    """A CameraProfile of server home."""
    return Document(
        Ref("CameraProfile", "video", name), f"u-{name}", 1, {"serverRef": {"name": "home"}, **spec}, {}
    )


def profile(name: str, **spec: Any) -> Profile:
    found = profile_of(document(name, **spec))
    assert found is not None
    return found


def camera(name: str = "door", labels: dict[str, str] | None = None, **spec: Any) -> Document:
    whole = {"serverRef": {"name": "home"}, "uid": UID, **spec}
    return Document(Ref("Camera", "video", name), f"u-{name}", 1, whole, {}, labels=labels or {})


def values(spec: dict[str, Any], *profiles: Profile) -> dict[str, tuple[Any, str, str]]:
    """Value, source and mode of each field."""
    wanted = merge(camera_spec({"serverRef": {"name": "home"}, "uid": UID, **spec}), profiles)
    return {name: (want.value, want.source, want.mode) for name, want in wanted.fields.items()}


PIR = {"settings": {"pir": {"enabled": True, "sensitivity": 40}}}


def test_the_camera_wins_then_the_highest_priority() -> None:
    low = profile("low", settings={"pir": {"enabled": False, "sensitivity": 10, "reduceMistakes": True}})
    high = profile("high", priority=5, settings={"pir": {"sensitivity": 20}, "alarm": {"enabled": True}})
    assert values({"settings": {"alarm": {"enabled": False}}}, low, high) == {
        "pir.enabled": (False, "CameraProfile/low", "Enforce"),
        "pir.sensitivity": (20, "CameraProfile/high", "Enforce"),
        "pir.reduceMistakes": (True, "CameraProfile/low", "Enforce"),
        "alarm.enabled": (False, "Camera", "Enforce"),
    }


def test_modes_are_decided_like_values() -> None:
    overrides = [
        {"field": "settings.pir", "mode": "Ignore"},
        {"field": "settings.pir.sensitivity", "mode": "Enforce"},
    ]
    site = profile("site", **PIR, policy={"default": "Report", "overrides": overrides})
    assert {n: m for n, (_, _, m) in values({}, site).items()} == {
        "pir.enabled": "Ignore",
        "pir.sensitivity": "Enforce",
    }
    own = {"policy": {"overrides": [{"field": "settings.pir.enabled", "mode": "Enforce"}]}, "displayName": "Door"}
    assert {n: m for n, (_, _, m) in values(own, site).items()} == {
        "displayName": "Report",
        "pir.enabled": "Enforce",
        "pir.sensitivity": "Enforce",
    }
    assert values({"policy": {"default": "Enforce"}}, site)["pir.enabled"][2] == "Enforce"


def test_equal_priority_must_agree() -> None:
    one, other = profile("a", **PIR), profile("b", settings={"pir": {"sensitivity": 50}})
    spec = camera_spec({"serverRef": {"name": "home"}, "uid": UID})
    (conflict,) = merge(spec, [other, one]).conflicts
    assert (conflict.path, conflict.profiles) == (
        "settings.pir.sensitivity",
        ("CameraProfile/a", "CameraProfile/b"),
    )
    assert merge(spec, [one, profile("b", settings={"pir": {"sensitivity": 40}})]).conflicts == ()
    assert (
        merge(spec, [one, other, profile("c", priority=1, settings={"pir": {"sensitivity": 5}})]).conflicts == ()
    )
    own = camera_spec({"serverRef": {"name": "home"}, "uid": UID, "settings": {"pir": {"sensitivity": 1}}})
    assert merge(own, [one, other]).conflicts == ()
    modes = [profile("a", **PIR, policy={"default": "Report"}), profile("b", policy={"default": "Ignore"})]
    assert [c.path for c in merge(spec, modes).conflicts] == [
        "the policy for settings.pir.enabled",
        "the policy for settings.pir.sensitivity",
    ]


@given(st.permutations([("a", 0, 10), ("b", 0, 20), ("c", 3, 30), ("d", -4, 40)]))
def test_the_order_of_profiles_does_not_matter(order: list[tuple[str, int, int]]) -> None:
    made = [profile(n, priority=p, settings={"pir": {"sensitivity": v}}) for n, p, v in order]
    spec = camera_spec({"serverRef": {"name": "home"}, "uid": UID})
    wanted = merge(spec, made)
    assert (wanted.fields["pir.sensitivity"].value, wanted.conflicts) == (30, ())
    assert wanted == merge(spec, sorted(made, key=str))


def test_a_profile_selects_by_server_namespace_and_labels() -> None:
    yard = profile("yard", selector={"matchLabels": {"site": "yard"}}, **PIR)
    assert yard.selects(camera(labels={"site": "yard"}))
    assert not yard.selects(camera(labels={"site": "shop"}))
    assert not yard.selects(camera(labels={"site": "yard"}, serverRef={"name": "other"}))
    elsewhere = replace(camera(labels={"site": "yard"}), ref=Ref("Camera", "other", "door"))
    assert not yard.selects(elsewhere)
    assert profile("all", **PIR).selects(camera())


def test_a_conflict_changes_nothing_and_is_said(scene: Any, a_device: Any) -> None:
    scene.profiles = [profile("a", **PIR), profile("b", settings={"pir": {"sensitivity": 50}})]
    scene.spec(displayName="Door")
    scene.device = a_device(settings={"displayName": "x", "pir.enabled": True, "pir.sensitivity": 9})
    assert scene.plan.actions == ()
    assert scene.condition("SettingsInSync") == ("False", "ProfileConflict")
    assert scene.condition("Stalled") == ("True", "ProfileConflict")
    scene.profiles.pop()
    (action,) = scene.plan.actions
    assert isinstance(action, WriteSettings)
    assert action.write == {"displayName": "Door", "pir.sensitivity": 40}


def test_what_a_suspended_profile_asks_for_is_only_compared(scene: Any, a_device: Any) -> None:
    scene.profiles = [profile("a", **PIR, suspend=True)]
    scene.device = a_device(settings={"pir.enabled": True, "pir.sensitivity": 9})
    assert scene.plan.actions == ()
    assert scene.condition("SettingsInSync") == ("False", "Drift")


def snapshot(doc: Document, cameras: list[Document], *others: Profile, server: bool = True) -> ProfileSnapshot:
    home = Document(Ref("RopServer", "video", "home"), "s", 1, {"host": "h"}, {}) if server else None
    return ProfileSnapshot(doc, NOW, profile_of(doc), home, cameras, others)


def told(snap: ProfileSnapshot, type_: str) -> tuple[str, str, str]:
    found = next(c for c in profile_status(snap)["conditions"] if c["type"] == type_)
    return found["status"], found["reason"], found["message"]


def test_a_profile_that_selects_nothing_says_so() -> None:
    doc = document("yard", selector={"matchLabels": {"site": "yard"}}, **PIR)
    nobody = snapshot(doc, [camera()])
    assert told(nobody, "Ready")[:2] == ("True", "SelectsNothing")
    assert "site=yard" in told(nobody, "Ready")[2]
    assert [f.reason for f in plan_profile(nobody).findings] == ["SelectsNothing"]
    somebody = snapshot(doc, [camera(labels={"site": "yard"})])
    assert told(somebody, "Ready")[:2] == ("True", "Ready")
    assert profile_status(somebody)["cameras"] == {"selected": 1}


def test_a_profile_in_conflict_names_cameras_and_the_other() -> None:
    doc = document("a", **PIR)
    other = profile("b", settings={"pir": {"sensitivity": 50}})
    found = snapshot(doc, [camera(f"door-{n}") for n in range(5)], other)
    status, reason, message = told(found, "Stalled")
    assert (status, reason) == ("True", "ProfileConflict")
    assert "CameraProfile/b" in message
    assert "door-0, door-1, door-2 and 2 more" in message
    assert profile_status(found)["cameras"] == {"selected": 5, "conflicting": 5}


@pytest.mark.parametrize(
    ("doc", "server", "reason"),
    [
        (document("a", priority=5000), True, "Invalid"),
        (document("a", selector={"matchExpressions": [{"key": "x", "operator": "In"}]}), True, "Invalid"),
        (document("a", **PIR), False, "ServerNotFound"),
    ],
)
def test_a_profile_that_cannot_be_used(doc: Document, server: bool, reason: str) -> None:
    found = snapshot(doc, [camera()], server=server)
    assert told(found, "Accepted")[:2] == ("False", reason)
    assert told(found, "Stalled")[0] == ("True" if reason == "Invalid" else "False")


def test_each_field_with_its_source() -> None:
    site = profile("site", **PIR, wakeBudget={"perDay": 4})
    door = replace(camera(displayName="Door"), status={"observed": {"settings": {"pir.sensitivity": 9}}})
    wanted = wanted_of(door, [site])
    assert wanted is not None
    assert [(r.field, r.value, r.source, r.mode, r.seen) for r in rows(door, wanted)] == [
        ("displayName", "'Door'", "Camera", "Enforce", None),
        ("settings.pir.enabled", "true", "CameraProfile/site", "Enforce", None),
        ("settings.pir.sensitivity", "40", "CameraProfile/site", "Enforce", "9"),
        ("wakeBudget", "4 a day", "CameraProfile/site", "-", None),
    ]
