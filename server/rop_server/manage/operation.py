"""What an operation of `/manage/v1` is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `scope` None: no token needed. `replies` maps status to (text, schema); 200 has no entry when
    it is not JSON. `fenced` operations take `fence` and the manager's header and are refused to anyone else.
    """

    method: str
    path: str
    name: str
    summary: str
    scope: str | None
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    reply: Mapping[str, Any] | None = None
    replies: Mapping[int, str] = field(default_factory=dict)
    fenced: bool = False
    content: str = "application/json"
