"""Drift of settings: what is shown of it, and when it is fought over no longer."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rop_operator.api.facts import SettingFact, WriteResult
from rop_operator.domain.plan import Done
from rop_operator.domain.storms import ROUNDS, WINDOW, counted, fights_of

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)


def seen(scene: Any, **settings: Any) -> None:
    """The camera was seen with these settings just now."""
    facts = {name.replace("_", "."): SettingFact(value=value, at=scene.now) for name, value in settings.items()}
    scene.device = scene.device.model_copy(update={"settings": {**scene.device.settings, **facts}})


def in_sync(scene: Any, a_device: Any) -> None:
    """A camera called Door, as wanted."""
    scene.spec(displayName="Door")
    scene.device = a_device(settings={"displayName": "Door"})
    assert scene.condition("SettingsInSync") == ("True", "InSync")


def repair(scene: Any) -> None:
    """Perform what is planned, as the engine does: the camera takes it."""
    (action,) = scene.plan.actions
    assert action.drifted == ("displayName",)
    seen(scene, displayName="Door")
    done = Done(WriteResult(False, ("displayName",), {"displayName": "Door"}, {}))
    assert scene.condition("SettingsInSync", [(action, done)]) == ("True", "InSync")


def test_reported_drift_is_shown_with_both_values_and_since_when(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Door", policy={"default": "Report"})
    scene.device = a_device(settings={"displayName": "Mallory\u202e"})
    entry = {
        "field": "displayName",
        "wanted": "'Door'",
        "seen": "'Mallory\\u202e'",
        "since": "2026-05-04T11:59:00Z",
        "mode": "Report",
    }
    assert scene.status()["settings"]["drift"] == [entry]
    scene.later(3600)
    seen(scene, displayName="Eve")
    assert scene.status()["settings"]["drift"] == [{**entry, "seen": "'Eve'"}]
    seen(scene, displayName="Door")
    assert "drift" not in scene.status()["settings"]


def test_what_a_person_changes_is_no_drift(scene: Any, a_device: Any) -> None:
    in_sync(scene, a_device)
    scene.spec(displayName="Gate")
    (action,) = scene.plan.actions
    assert action.drifted == ()
    assert "drift" not in scene.status()["settings"]


def test_a_storm_ends_with_a_condition_and_no_more_writes(scene: Any, a_device: Any) -> None:
    in_sync(scene, a_device)
    for _ in range(ROUNDS):
        scene.later(30)
        seen(scene, displayName="Mallory")
        repair(scene)
    scene.later(30)
    seen(scene, displayName="Mallory")
    assert scene.plan.actions == ()
    assert scene.condition("SettingsInSync") == ("False", "DriftStorm")
    assert scene.condition("Stalled") == ("True", "DriftStorm")
    assert scene.condition("Ready") == ("False", "DriftStorm")
    assert scene.status()["settings"]["drift"][0]["seen"] == "'Mallory'"
    # Time alone does not begin it again; a person does, and so does peace.
    scene.later(86400)
    seen(scene, displayName="Mallory")
    assert scene.plan.actions == ()


def test_a_request_begins_anew_after_a_storm(scene: Any, a_device: Any) -> None:
    in_sync(scene, a_device)
    for _ in range(ROUNDS):
        scene.later(30)
        seen(scene, displayName="Mallory")
        repair(scene)
    scene.later(30)
    seen(scene, displayName="Mallory")
    scene.status()
    scene.document.annotations["rop.dev/requestedAt"] = scene.now.isoformat()
    repair(scene)
    assert [e["rounds"] for e in scene.document.status["settings"]["repairs"]] == [1]


def test_another_wish_begins_anew_after_a_storm(scene: Any, a_device: Any) -> None:
    in_sync(scene, a_device)
    for _ in range(ROUNDS):
        seen(scene, displayName="Mallory")
        repair(scene)
    seen(scene, displayName="Mallory")
    scene.spec(displayName="Gate")
    (action,) = scene.plan.actions
    assert (action.write, action.drifted) == ({"displayName": "Gate"}, ())


def test_the_other_settings_are_still_written(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Door", settings={"alarm": {"enabled": True}})
    scene.device = a_device(settings={"displayName": "Door", "alarm.enabled": True})
    scene.status()
    for _ in range(ROUNDS):
        seen(scene, displayName="Mallory")
        (action,) = scene.plan.actions
        seen(scene, displayName="Door")
        scene.status([(action, Done(WriteResult(False, ("displayName",), {}, {})))])
    seen(scene, displayName="Mallory", alarm_enabled=False)
    (action,) = scene.plan.actions
    assert action.write == {"alarm.enabled": True}


@given(st.lists(st.floats(min_value=0, max_value=7200), max_size=40))
def test_only_rounds_within_a_window_count(pauses: list[float]) -> None:
    """Whatever the pauses: a storm needs ROUNDS repairs within WINDOW, and is one as soon as there are."""
    from datetime import timedelta

    now, fights, moments = NOW, dict[str, Any](), list[datetime]()
    for pause in pauses:
        now += timedelta(seconds=round(pause))
        if "name" in fights and fights["name"].lost:
            return
        fights = counted(fights, ["name"], now)
        moments.append(now)
        assert fights_of([fights["name"].to_status("name")], None)["name"] == fights["name"]
        within = [m for m in moments if now - m < WINDOW]
        assert not fights["name"].lost or len(within) >= ROUNDS
