"""A queue of document references: each is in it once, is worked on by one worker at a time, may be due later."""

import asyncio
import heapq
import itertools
from collections import OrderedDict

from rop_operator.api.facts import Ref

BACKOFF_FIRST, BACKOFF_MOST = 1.0, 60.0


class WorkQueue:
    """One heap and one timer for everything that is due later."""

    def __init__(self) -> None:
        self._ready: OrderedDict[Ref, None] = OrderedDict()
        self._busy: set[Ref] = set()
        self._again: set[Ref] = set()
        self._due: dict[Ref, float] = {}
        self._heap: list[tuple[float, int, Ref]] = []
        self._numbers = itertools.count()
        self._failures: dict[Ref, int] = {}
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, ref: Ref) -> None:
        """To be worked on now; once more afterwards when a worker has it already."""
        self._due.pop(ref, None)
        if ref in self._busy:
            self._again.add(ref)
        elif ref not in self._ready:
            self._ready[ref] = None
            self._wake.set()

    def add_after(self, ref: Ref, seconds: float) -> None:
        """To be worked on after some seconds; an earlier time stays."""
        if ref in self._ready:
            return
        when = asyncio.get_running_loop().time() + max(0.0, seconds)
        if when < self._due.get(ref, float("inf")):
            self._due[ref] = when
            heapq.heappush(self._heap, (when, next(self._numbers), ref))
            self._arm()

    def retry(self, ref: Ref) -> float:
        """To be worked on again after a failure, later each time; seconds until then."""
        failures = self._failures.get(ref, 0)
        self._failures[ref] = failures + 1
        delay = min(BACKOFF_MOST, BACKOFF_FIRST * 2.0 ** min(failures, 10))
        self.add_after(ref, delay)
        return delay

    def succeeded(self, ref: Ref) -> None:
        """Forget its failures."""
        self._failures.pop(ref, None)

    async def get(self) -> Ref:
        """The next one; `done` has to follow."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        ref, _ = self._ready.popitem(last=False)
        self._busy.add(ref)
        return ref

    def done(self, ref: Ref) -> None:
        """A worker has finished with it."""
        self._busy.discard(ref)
        if ref in self._again:
            self._again.discard(ref)
            self.add(ref)

    def forget(self, ref: Ref) -> None:
        """It is gone: nothing is due any more."""
        self._due.pop(ref, None)
        self._failures.pop(ref, None)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._timer = loop.call_at(self._heap[0][0], self._release)

    def _release(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now:
            when, _, ref = heapq.heappop(self._heap)
            if self._due.get(ref) == when:
                self.add(ref)
        self._timer = None
        self._arm()
