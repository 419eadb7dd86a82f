"""Passes: one request, once, for a short time."""

from __future__ import annotations

from rop_server.access.callers import MAX_PASSES, PASS_LIFE_S, Caller, Passes

CALLER = Caller("user alice", lambda uid: True, "192.0.2.1", "rtsps://gw:61004")
REQUEST = ("GET", "/v1.0/devices")


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_pass_is_taken_once() -> None:
    passes = Passes(Time())
    made = passes.give(CALLER, *REQUEST)
    assert passes.take(made, *REQUEST) is CALLER
    assert passes.take(made, *REQUEST) is None
    assert passes.take("", *REQUEST) is None


def test_a_pass_is_for_its_request_alone() -> None:
    passes = Passes(Time())
    for other in (("PUT", REQUEST[1]), ("GET", REQUEST[1] + "?x")):
        assert passes.take(passes.give(CALLER, *REQUEST), *other) is None


def test_a_pass_ends() -> None:
    time = Time()
    passes = Passes(time)
    late, forgotten = passes.give(CALLER, *REQUEST), passes.give(CALLER, *REQUEST)
    time.now = PASS_LIFE_S
    assert passes.take(late, *REQUEST) is None
    passes.tick()
    assert len(passes) == 0
    assert passes.take(forgotten, *REQUEST) is None


def test_passes_are_bounded() -> None:
    passes = Passes(Time())
    first = passes.give(CALLER, *REQUEST)
    for _ in range(MAX_PASSES):
        last = passes.give(CALLER, *REQUEST)
    assert len(passes) == MAX_PASSES
    assert passes.take(first, *REQUEST) is None
    assert passes.take(last, *REQUEST) is CALLER
