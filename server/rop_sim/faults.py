"""Faults that a camera can be told to have: for tests, and for users who rehearse."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FaultKind:
    """What a fault does; `default` is its number when none is told, None when it takes no number."""

    what: str
    default: float | None = None


KINDS: Mapping[str, FaultKind] = {
    "upgrade-refuse": FaultKind("refuses the announcement of a firmware file with a status", 402),
    "upgrade-refuse-slice": FaultKind("refuses a slice of the firmware with 402; the number counts from 1", 3),
    "upgrade-disconnect": FaultKind(
        "drops the signaling connection instead of answering a slice; it counts from 1", 3
    ),
    "upgrade-late": FaultKind("is away for so many seconds after installing", 330),
    "upgrade-old-version": FaultKind("restarts after an upgrade with its old firmware"),
    "upgrade-never-back": FaultKind("never comes back after installing"),
    "no-heartbeats": FaultKind("sends no heartbeats"),
    "late-answers": FaultKind("answers every command so many seconds late", 11),
    "no-answers": FaultKind("never answers a command"),
    "refuse-all": FaultKind("answers every command with a status", 400),
    "garbage": FaultKind("sends bytes that are no packet on the signaling connection when asked anything"),
    "slow-reader": FaultKind("stops reading the signaling connection for so many seconds when asked anything", 5),
    "snapshot-cut": FaultKind("never sends the last part of a picture"),
    "stream-refuse": FaultKind("refuses to start a stream with a status", 400),
    "stream-never": FaultKind("starts a stream but never connects"),
    "stream-silent": FaultKind("sends nothing more after so many seconds of a stream", 2),
    "stream-drop": FaultKind("closes the media connection after so many seconds of a stream", 2),
    "stream-garbage": FaultKind(
        "sends bytes that are no packet on the media connection after so many seconds of a stream", 2
    ),
    "stream-no-end": FaultKind("never tells the end of a recording"),
    "stream-no-sound": FaultKind("sends pictures only"),
}


class FaultError(ValueError):
    """No such fault, or a number that it cannot take."""


class Faults:
    """The faults of one camera."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._numbers: dict[str, float] = {}
        for word in words:
            self.set(word)

    def set(self, word: str) -> None:
        """Have a fault: `NAME` or `NAME=NUMBER`. Raises FaultError."""
        name, told, number = word.partition("=")
        kind = KINDS.get(name)
        if kind is None:
            raise FaultError(f"no fault {name!r}; known: {', '.join(KINDS)}")
        if told and kind.default is None:
            raise FaultError(f"{name} takes no number")
        try:
            value = float(number) if told else (kind.default or 0.0)
        except ValueError:
            raise FaultError(f"{name}: {number!r} is not a number") from None
        if not 0 <= value < 1e6:
            raise FaultError(f"{name}: a number from 0 to 1000000")
        self._numbers[name] = value

    def clear(self) -> None:
        """Have none any more."""
        self._numbers.clear()

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    def number(self, name: str) -> float | None:
        """The number of a fault, None when the camera does not have it."""
        return self._numbers.get(name)

    @property
    def names(self) -> list[str]:
        """Those it has."""
        return sorted(self._numbers)


_HEAD = """# Faults of virtual cameras

A virtual camera can be told to misbehave, to rehearse what a site does then:

```
ropsim camera --state /tmp/cam --uid 95270001ABCDEFGH --fault upgrade-late=400 --fault no-heartbeats
ropsim ctl --state /tmp/cam set-fault stream-silent=5
ropsim ctl --state /tmp/cam clear-faults
```

`NAME=NUMBER` changes the number of those that have one. `ropsim ctl status` tells which are set. This page is the
output of `ropsim faults --markdown`.

| fault | number | what the camera does |
| --- | --- | --- |
"""


def reference() -> str:
    """The page of the documentation that lists all faults."""
    rows = [
        f"| `{name}` | {'' if kind.default is None else f'{kind.default:g}'} | {kind.what} |"
        for name, kind in KINDS.items()
    ]
    return _HEAD + "\n".join(rows) + "\n"
