"""Raw path matching: exact, case-sensitive, undecoded; one trailing slash is tolerated.

Source: ROP v1.0 wire specification, client-api 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

Handler = TypeVar("Handler")


class PathTable(Generic[Handler]):
    """Handlers by method and path template, such as `GET /v1.0/devices/{uid}/states/battery`."""

    def __init__(self, routes: Mapping[tuple[str, str], Handler]) -> None:
        self._fixed: dict[tuple[str, str], Handler] = {}
        # By method, number of segments and last segment (empty: a parameter), which leaves one or two candidates.
        self._patterns: dict[tuple[str, int, str], list[tuple[list[str], Handler]]] = {}
        for (method, template), handler in routes.items():
            if "{" not in template:
                self._fixed[method, template] = handler
            else:
                parts = template.split("/")
                last = "" if parts[-1].startswith("{") else parts[-1]
                self._patterns.setdefault((method, len(parts), last), []).append((parts, handler))

    def find(self, method: str, target: str) -> tuple[Handler, dict[str, str]] | None:
        """The handler of a request target (path with query as it came) and its path parameters."""
        path = target.partition("?")[0]
        if len(path) > 1 and path.endswith("/"):
            path = path[:-1]
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            return fixed, {}
        segments = path.split("/")
        for last in (segments[-1], ""):
            for parts, handler in self._patterns.get((method, len(segments), last), ()):
                found = _match(parts, segments)
                if found is not None:
                    return handler, found
        return None


def _match(parts: list[str], segments: list[str]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for part, segment in zip(parts, segments, strict=True):
        if part.startswith("{"):
            if not segment:
                return None
            found[part[1:-1]] = segment
        elif part != segment:
            return None
    return found
