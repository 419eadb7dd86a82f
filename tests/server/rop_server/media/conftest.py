"""A clock that moves when told."""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass
class Manual:
    """Monotonic seconds."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def manual() -> type[Manual]:
    """Makes clocks."""
    return Manual
