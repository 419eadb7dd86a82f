"""Where a camera looks."""

from rop_sim.head import PAN_LIMIT, TILT_LIMIT, Head


def test_turns_until_stopped() -> None:
    head = Head()
    head.act("rightUp", 32, 100.0)
    assert head.told(100.5) == {"pan": 16.0, "tilt": 16.0, "zoom": 1.0, "focus": 50.0, "moving": True}
    head.act("stop", None, 101.0)
    assert head.told(200.0) == {"pan": 32.0, "tilt": 32.0, "zoom": 1.0, "focus": 50.0, "moving": False}


def test_a_turn_ends_at_the_limit() -> None:
    head = Head()
    head.act("left", 64, 0.0)
    told = head.told(1000.0)
    assert (told["pan"], told["moving"]) == (-PAN_LIMIT, False)
    head.act("down", 1, 1000.0)
    assert head.told(1001.0)["tilt"] == -1.0
    assert head.told(9000.0)["tilt"] == -TILT_LIMIT


def test_zoom_and_focus_are_steps_within_limits() -> None:
    head = Head()
    for _ in range(50):
        head.act("zoomInc", None, 0.0)
        head.act("focusDec", None, 0.0)
    assert (head.zoom, head.focus) == (8.0, 0.0)
    head.act("zoomDec", None, 0.0)
    head.act("focusInc", None, 0.0)
    assert (head.zoom, head.focus) == (7.5, 5.0)
