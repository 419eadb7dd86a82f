"""What a person asks of a server, as calls of its management interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from rop_operator.api.questions import AS_MANAGER, Question, Verb


@dataclass(frozen=True, slots=True)
class Route:
    """Where a question goes. Arguments named in `path` are put there, those of `query` after it, the rest is the
    body. `raw`: the answer is no JSON.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    query: tuple[str, ...] = ()
    raw: bool = False


ROUTES: Mapping[Verb, Route] = {
    "Alarms": Route("GET", "/alarms"),
    "DeadAlarms": Route("GET", "/alarms/dead", ("sink", "uid")),
    "ReplayAlarms": Route("POST", "/alarms/replay"),
    "Tokens": Route("GET", "/gateway/tokens"),
    "MakeToken": Route("POST", "/gateway/tokens"),
    "EndToken": Route("DELETE", "/gateway/tokens/{name}"),
    "Logs": Route("GET", "/logs", ("limit", "after", "level", "uid")),
    "Audit": Route("GET", "/audit", ("limit", "uid")),
    "Backup": Route("GET", "/backup"),
    "MakeArchive": Route("POST", "/backup/runs"),
    "ArchiveRun": Route("GET", "/backup/runs/{id}"),
    "Archives": Route("GET", "/backup/archives", ("target",)),
    "Archive": Route("GET", "/backup/archives/{name}", ("target",), raw=True),
    "VerifyArchive": Route("POST", "/backup/archives/{name}/verify", ("target",)),
    "PruneArchives": Route("POST", "/backup/prune"),
    "RecoverySheet": Route("GET", "/backup/sheet", raw=True),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A call: path and query below the interface's root; `body` None: none. `fenced`: in the manager's name."""

    method: str
    path: str
    query: Mapping[str, Any]
    body: Mapping[str, Any] | None
    raw: bool
    fenced: bool


def asked(question: Question) -> Asked:
    """The call of a question."""
    route, given = ROUTES[question.verb], dict(question.arguments)
    path = route.path
    for name in [each for each in ("name", "id") if f"{{{each}}}" in path]:
        path = path.replace(f"{{{name}}}", quote(str(given.pop(name, None)), safe=""))
    query = {name: given.pop(name) for name in route.query if name in given}
    body = given if route.method == "POST" and not (route.query and not given) else None
    return Asked(route.method, path, query, body, route.raw, question.verb in AS_MANAGER)
