"""The queue, the pace and the roster of the engine."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rop_operator.api.facts import Document, Ref
from rop_operator.reconcile import workqueue
from rop_operator.reconcile.pace import Pace
from rop_operator.reconcile.roster import Roster
from rop_operator.reconcile.workqueue import WorkQueue

A, B = Ref("Camera", "video", "a"), Ref("Camera", "video", "b")
HOME, AWAY = Ref("RopServer", "video", "home"), Ref("RopServer", "video", "away")


async def nothing(queue: WorkQueue) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.05)


async def test_one_place_per_reference_in_order() -> None:
    queue = WorkQueue()
    for ref in (A, B, A, A):
        queue.add(ref)
    assert [await queue.get(), await queue.get()] == [A, B]
    await nothing(queue)


async def test_a_change_during_the_work_means_once_more_afterwards() -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.get()
    queue.add(A)
    queue.add(A)
    await nothing(queue)
    queue.done(A)
    assert await queue.get() == A
    queue.done(A)
    await nothing(queue)


async def test_what_is_due_later_comes_once_at_the_earliest_time() -> None:
    queue = WorkQueue()
    loop = asyncio.get_running_loop()
    started = loop.time()
    for seconds in (5.0, 0.1, 60.0):
        queue.add_after(A, seconds)
    queue.add_after(B, 0.0)
    assert await asyncio.wait_for(queue.get(), 5) == B
    assert await asyncio.wait_for(queue.get(), 5) == A
    assert 0.09 <= loop.time() - started < 4
    queue.done(A)
    await nothing(queue)
    queue.close()


async def test_what_is_added_now_is_not_due_later_any_more() -> None:
    queue = WorkQueue()
    queue.add_after(A, 0.05)
    queue.add(A)
    assert await queue.get() == A
    queue.done(A)
    await asyncio.sleep(0.1)
    await nothing(queue)
    queue.add_after(B, 0.05)
    queue.forget(B)
    await asyncio.sleep(0.1)
    await nothing(queue)


async def test_failures_come_back_later_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workqueue, "BACKOFF_MOST", 5.0)
    queue = WorkQueue()
    assert [queue.retry(A) for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    queue.succeeded(A)
    assert queue.retry(A) == 1.0
    queue.close()


def test_pace() -> None:
    pace = Pace(2.0, 2)
    assert pace.take(0.0) is None
    assert pace.take(0.0) is None
    assert pace.take(0.0) == 0.5
    assert pace.take(0.5) is None
    assert pace.take(0.5) == 0.5
    assert pace.take(100.0) is None


def camera(ref: Ref, uid: str = "U", server: str = "home", **members: object) -> Document:
    spec = {"serverRef": {"name": server}, "uid": uid, **members}
    return Document(ref, "x", 1, spec, {})


def test_roster_tells_only_of_changes_that_concern_others() -> None:
    roster = Roster()
    first = camera(A)
    assert [e.server for e in roster.update(A, first)] == [HOME]
    assert roster.update(A, replace(first, status={"state": "Online"}, generation=2)) == ()
    assert roster.update(A, camera(A, displayName="x")) == ()
    assert [e.access for e in roster.update(A, camera(A, access="Denied"))] == ["Allowed", "Denied"]
    assert [e.deleting for e in roster.update(A, replace(camera(A), deleting=datetime.now(UTC)))] == [False, True]
    roster.update(B, camera(B))
    assert roster.of_uid(HOME, "U") == [A, B]
    moved = roster.update(B, camera(B, server="away"))
    assert [e.server for e in moved] == [HOME, AWAY]
    assert (roster.of_server(HOME), roster.of_server(AWAY)) == ([A], [B])
    roster.update(A, None)
    assert roster.of_server(HOME) == []
    assert roster.update(A, None) == ()
