"""What a person may ask of a core server through the engine, beside its documents: values that hosts pass on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Verb = Literal["Alarms", "DeadAlarms", "ReplayAlarms", "Tokens", "MakeToken", "EndToken", "Logs", "Audit"]
VERBS: tuple[str, ...] = get_args(Verb)


@dataclass(frozen=True, slots=True)
class Question:
    """One call. `arguments`: DeadAlarms and ReplayAlarms {sink, uid}, both optional; MakeToken {name, verbs,
    cameras, expiresAt}; EndToken {name}; Logs {limit, after, level, uid} and Audit {limit, uid}, all optional.
    Source: the management interface's OpenAPI document.
    """

    verb: Verb
    arguments: Mapping[str, Any] = field(default_factory=dict)
