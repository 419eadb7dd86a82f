"""Who came through the gateway, and the pass that binds a decision about them to one request."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

PASS_LIFE_S = 120.0
MAX_PASSES = 20_000


@dataclass(frozen=True, slots=True)
class Caller:
    """A proven caller. `name` is `user alice`, `token wall` or `certificate nvr`; `sees(uid)`: may know of it.

    Play addresses for this caller begin with `prefix`, are bound to `address` and to a single viewer where that is
    wanted, and end with the caller's own right at `until` (epoch seconds, None: open).
    """

    name: str
    sees: Callable[[str], bool]
    address: str
    prefix: str
    bind_to_address: bool = False
    single_viewer: bool = False
    until: float | None = None


class Passes:
    """Passes: each is taken once, for exactly the request it was given for. `now` is monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._passes: OrderedDict[str, tuple[float, str, str, Caller]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._passes)

    def give(self, caller: Caller, method: str, target: str) -> str:
        """A pass for this request."""
        made = secrets.token_urlsafe(24)
        self._passes[made] = (self._now() + PASS_LIFE_S, method, target, caller)
        while len(self._passes) > MAX_PASSES:
            self._passes.popitem(last=False)
        return made

    def take(self, told: str, method: str, target: str) -> Caller | None:
        """The caller of a request; None without a pass for it."""
        found = self._passes.pop(told, None)
        if found is None:
            return None
        until, wanted_method, wanted_target, caller = found
        fits = (method, target) == (wanted_method, wanted_target) and self._now() < until
        return caller if fits else None

    def tick(self) -> None:
        """Forget those that nobody took. Once per second."""
        now = self._now()
        while self._passes and next(iter(self._passes.values()))[0] <= now:
            self._passes.popitem(last=False)
