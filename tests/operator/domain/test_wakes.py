"""The wake budget: counting, the reserve, what waits and until when."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rop_operator.api.camera import WakeBudget
from rop_operator.api.facts import DeviceFacts, WriteResult
from rop_operator.domain.plan import Done
from rop_operator.domain.wakes import Ledger, allowance, ledger


def budget(per_day: int, **members: int) -> WakeBudget:
    return WakeBudget.model_validate({"perDay": per_day, **members})


def sleeper(a_device: Any, **members: Any) -> DeviceFacts:
    found: DeviceFacts = a_device("Asleep", family="battery", **members)
    return found


def woken(scene: Any, times: int = 1) -> None:
    """The camera was woken just now."""
    wakes = scene.device.wakes + times
    scene.device = scene.device.model_copy(update={"wakes": wakes, "last_wake": scene.now})


def test_writes_stop_at_the_budget_and_go_on_the_next_day(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Gate", wakeBudget={"perDay": 3})
    scene.device = sleeper(a_device, wakes=7, settings={"displayName": "x"})
    scene.status()
    woken(scene)
    assert scene.plan.actions[0].wakes == 1
    woken(scene)
    assert scene.plan.actions == ()
    assert scene.condition("SettingsInSync") == ("False", "WakeBudgetSpent")
    assert scene.condition("Ready") == ("True", "Ready")
    assert scene.document.status["wakeBudget"] == {"day": "2026-05-04", "used": 2}
    assert scene.plan.wait == 12 * 3600 + 1
    scene.later(scene.plan.wait)
    assert scene.plan.actions[0].wakes == 1
    assert scene.status()["wakeBudget"] == {"day": "2026-05-04", "used": 2}


def test_a_camera_that_wakes_by_itself_is_written_at_once(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Gate", wakeBudget={"perDay": 0})
    scene.device = sleeper(a_device, settings={"displayName": "x"})
    assert scene.plan.actions == ()
    assert scene.plan.wait is None
    assert scene.condition("SettingsInSync") == ("False", "WaitingForWake")
    scene.device = a_device("Online", family="battery", settings={"displayName": "x"})
    (action,) = scene.plan.actions
    assert (action.write, action.wakes) == ({"displayName": "Gate"}, 0)


def test_the_plan_shows_what_waits(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Gate", wakeBudget={"perDay": 1, "alarmReserve": 1})
    scene.device = sleeper(a_device)
    (later,) = scene.plan.later
    assert later.write == {"displayName": "Gate"}


@pytest.mark.parametrize(
    ("wanted", "used", "allowed"),
    [
        (budget(4), 2, True),
        (budget(4), 3, False),
        (budget(4, alarmReserve=0), 3, True),
        (budget(4, alarmReserve=0), 4, False),
        (budget(1), 0, True),
        (budget(1), 1, False),
        (budget(2, alarmReserve=2), 0, False),
        (None, 1000, True),
    ],
)
def test_the_reserve_is_left_for_alarms(scene: Any, wanted: WakeBudget | None, used: int, allowed: bool) -> None:
    day = scene.now.strftime("%Y-%m-%d")
    assert allowance(wanted, Ledger(day, used, used), scene.now).allowed is allowed


def test_nothing_is_written_while_nobody_wakes_the_camera(scene: Any, a_device: Any) -> None:
    scene.device = sleeper(a_device, wakes=5)
    first = scene.status()
    assert "wakeBudget" not in first
    for _ in range(3):
        scene.later(86400)
        assert scene.status() == first


def test_wakes_of_a_time_when_nobody_looked_count_for_the_newest_day(scene: Any, a_device: Any) -> None:
    scene.device = sleeper(a_device, wakes=5)
    scene.status()
    scene.later(3 * 86400)
    woken(scene, 2)
    scene.later(60)
    assert scene.status()["wakeBudget"] == {"day": "2026-05-07", "used": 2}
    scene.device = scene.device.model_copy(update={"wakes": 0})
    assert scene.status()["wakeBudget"] == {"day": "2026-05-07", "used": 2}


@given(
    st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 3)), max_size=60), st.integers(0, 6), st.booleans()
)
def test_the_engine_never_spends_more_than_the_budget(
    steps: list[tuple[int, int]], per_day: int, restarts: bool
) -> None:
    """Any times, any wakes of viewers in between: in no day does a wake of ours exceed what is left."""
    status: dict[str, Any] = {"observed": {}}
    device = DeviceFacts(uid="952700010000ABCD", state="Asleep", family="battery")
    from datetime import UTC, datetime

    now = datetime(2026, 5, 4, 22, 0, 0, tzinfo=UTC)
    truth: dict[str, int] = {}
    limit = per_day - min(1, max(0, per_day - 1))
    for pause, viewers in steps:
        now += timedelta(seconds=pause)
        day = now.strftime("%Y-%m-%d")
        if viewers:
            truth[day] = truth.get(day, 0) + viewers
            device = device.model_copy(update={"wakes": device.wakes + viewers, "last_wake": now})
        count = ledger(status, device, now)
        if not restarts or viewers:
            status = {"observed": {}, "wakes": count.total, "wakeBudget": count.to_status()}
        if allowance(budget(per_day), count, now).allowed:
            assert truth.get(day, 0) < limit
            truth[day] = truth.get(day, 0) + 1
            device = device.model_copy(update={"wakes": device.wakes + 1, "last_wake": now})
            count = ledger(status, device, now)
            status = {"observed": {}, "wakes": count.total, "wakeBudget": count.to_status()}
        else:
            assert truth.get(day, 0) >= limit


def test_one_wake_for_writing_and_reading(scene: Any, a_device: Any) -> None:
    scene.spec(displayName="Gate", settings={"pir": {"enabled": True}}, wakeBudget={"perDay": 2})
    scene.device = sleeper(a_device)
    (action,) = scene.plan.actions
    assert (set(action.write), set(action.read), action.wakes) == (
        {"displayName", "pir.enabled"},
        {"displayName", "pir.enabled"},
        1,
    )
    woken(scene)
    done = Done(WriteResult(True, ("displayName",), {"displayName": "Gate"}, {"pir.enabled": "cmd_exec_error"}))
    assert scene.condition("SettingsInSync", [(action, done)])[0] == "False"
    assert scene.plan.actions == (), "a refused write is not tried again at once"
