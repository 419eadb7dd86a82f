"""What a person may ask of a core server through the engine, beside its documents: values that hosts pass on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Verb = Literal[
    "Alarms",
    "DeadAlarms",
    "ReplayAlarms",
    "Tokens",
    "MakeToken",
    "EndToken",
    "Logs",
    "Audit",
    "Backup",
    "MakeArchive",
    "ArchiveRun",
    "Archives",
    "Archive",
    "VerifyArchive",
    "PruneArchives",
    "RecoverySheet",
]
AS_MANAGER: tuple[Verb, ...] = ("MakeToken", "EndToken", "PruneArchives")
"""Those that only the server's manager may ask."""
VERBS: tuple[str, ...] = get_args(Verb)


@dataclass(frozen=True, slots=True)
class Question:
    """One call. Source of `arguments`: the management interface's OpenAPI document.

    DeadAlarms and ReplayAlarms {sink, uid}, both optional; MakeToken {name, verbs, cameras, expiresAt}; EndToken
    {name}; Logs {limit, after, level, uid} and Audit {limit, uid}, all optional; MakeArchive {id, targets,
    retain}; ArchiveRun {id}; Archives {target}, optional; Archive and VerifyArchive {name, target}; PruneArchives
    {target, dryRun, credentials}, the last only for buckets. Archive and RecoverySheet are answered
    as `data`, base64.
    """

    verb: Verb
    arguments: Mapping[str, Any] = field(default_factory=dict)
