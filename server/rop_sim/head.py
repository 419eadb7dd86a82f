"""Where a camera looks: turns while it is told to, stops at its limits. Pure: time is an argument, in seconds."""

from dataclasses import dataclass

# Degrees, and the widest to the narrowest view; focus has no unit.
PAN_LIMIT = 170.0
TILT_LIMIT = 45.0
ZOOM_LIMITS = (1.0, 8.0)
FOCUS_LIMITS = (0.0, 100.0)
ZOOM_STEP = 0.5
FOCUS_STEP = 5.0
# Degrees per second at speed 64.
FASTEST = 64.0
DEFAULT_SPEED = 32

_WAYS = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, 1),
    "down": (0, -1),
    "leftUp": (-1, 1),
    "leftDown": (-1, -1),
    "rightUp": (1, 1),
    "rightDown": (1, -1),
}


def _within(value: float, low: float, high: float) -> float:
    return min(high, max(low, value))


@dataclass(slots=True)
class Head:
    """Pan, tilt, zoom and focus; `since`: when the present movement began."""

    pan: float = 0.0
    tilt: float = 0.0
    zoom: float = ZOOM_LIMITS[0]
    focus: float = 50.0
    way: tuple[int, int] = (0, 0)
    speed: int = DEFAULT_SPEED
    since: float = 0.0

    def advance(self, now: float) -> None:
        """Go as far as the movement has come; it ends at the limits."""
        passed = max(0.0, now - self.since) * FASTEST * self.speed / 64
        self.pan = _within(self.pan + self.way[0] * passed, -PAN_LIMIT, PAN_LIMIT)
        self.tilt = _within(self.tilt + self.way[1] * passed, -TILT_LIMIT, TILT_LIMIT)
        self.since = now

    def act(self, action: str, speed: int | None, now: float) -> None:
        """Perform an action of command 18. Zoom and focus are steps; a turn lasts until `stop`."""
        self.advance(now)
        if action in _WAYS:
            self.way = _WAYS[action]
            self.speed = int(_within(DEFAULT_SPEED if speed is None else speed, 1, 64))
        elif action == "stop":
            self.way = (0, 0)
        elif action in ("zoomInc", "zoomDec"):
            step = ZOOM_STEP if action == "zoomInc" else -ZOOM_STEP
            self.zoom = _within(self.zoom + step, *ZOOM_LIMITS)
        elif action in ("focusInc", "focusDec"):
            step = FOCUS_STEP if action == "focusInc" else -FOCUS_STEP
            self.focus = _within(self.focus + step, *FOCUS_LIMITS)

    def told(self, now: float) -> dict[str, float | bool]:
        """For `ropsim ctl status`."""
        self.advance(now)
        at_limit = abs(self.pan) == PAN_LIMIT or abs(self.tilt) == TILT_LIMIT
        return {
            "pan": round(self.pan, 1),
            "tilt": round(self.tilt, 1),
            "zoom": self.zoom,
            "focus": self.focus,
            "moving": self.way != (0, 0) and not at_limit,
        }
