"""What a drill did so far: its steps with their durations, and what it learned."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rop_data.archive.manifest import Header
from rop_drill.reasons import DrillFailed


@dataclass(slots=True)
class Step:
    """One step. `detail`: what it found, for people."""

    name: str
    seconds: float = 0.0
    passed: bool = False
    detail: str = ""


@dataclass(slots=True)
class Diary:
    """`on_step` hears the name of each step as it begins. `facts` go into the report."""

    on_step: Callable[[str], None] = lambda _: None
    began: float = field(default_factory=time.monotonic)
    steps: list[Step] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """A step: it has passed when nothing was raised."""
        one = Step(name)
        self.steps.append(one)
        self.on_step(name)
        start = time.monotonic()
        try:
            yield one
            one.passed = True
        except DrillFailed as failure:
            one.detail = failure.told
            raise
        finally:
            one.seconds = round(time.monotonic() - start, 3)

    @property
    def current(self) -> str:
        """The name of the last step."""
        return self.steps[-1].name if self.steps else "nothing"

    def elapsed(self) -> float:
        """Seconds since the drill began."""
        return round(time.monotonic() - self.began, 3)

    def archive(self, name: str, header: Header, now: datetime) -> None:
        """Which archive it is, and the age of its data: what would be lost (RPO)."""
        self.facts["archive"] = {
            "name": name,
            "generation": header.generation,
            "created": header.created,
            "instanceID": header.instance_id,
            "rootSHA256": header.root_sha256,
            "signer": header.signer,
        }
        self.facts["rpoSeconds"] = round((now - header.created_at).total_seconds(), 3)
