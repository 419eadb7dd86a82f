"""Which Cameras belong to which RopServer: kept up to date document by document."""

from dataclasses import dataclass

from rop_operator.api.facts import Document, Ref
from rop_operator.domain.operation import server_of
from rop_operator.domain.snapshot import server_ref


@dataclass(frozen=True, slots=True)
class Entry:
    """What of a Camera concerns its server and its rivals."""

    server: Ref
    uid: str
    access: str
    deleting: bool
    labels: tuple[tuple[str, str], ...] = ()


class Roster:
    """Cameras by server and by server and UID."""

    def __init__(self) -> None:
        self._entries: dict[Ref, Entry] = {}
        self._by_server: dict[Ref, set[Ref]] = {}
        self._by_uid: dict[tuple[Ref, str], set[Ref]] = {}

    def update(self, ref: Ref, document: Document | None) -> tuple[Entry, ...]:
        """Take a new version in; the old and the new entry when something of it concerns others, else nothing."""
        old = self._entries.get(ref)
        new = _entry(document) if document is not None else None
        if old == new:
            return ()
        if old is not None:
            del self._entries[ref]
            self._by_server[old.server].discard(ref)
            self._by_uid[old.server, old.uid].discard(ref)
        if new is not None:
            self._entries[ref] = new
            self._by_server.setdefault(new.server, set()).add(ref)
            self._by_uid.setdefault((new.server, new.uid), set()).add(ref)
        return tuple(entry for entry in (old, new) if entry is not None)

    def of_server(self, server: Ref) -> list[Ref]:
        """Cameras that name this server."""
        return sorted(self._by_server.get(server, ()))

    def of_uid(self, server: Ref, uid: str) -> list[Ref]:
        """Cameras with this UID on this server."""
        return sorted(self._by_uid.get((server, uid), ()))


def _entry(document: Document) -> Entry | None:
    server = server_ref(document)
    if server is None:
        return None
    spec = document.spec
    labels = tuple(sorted(document.labels.items()))
    access = str(spec.get("access", "Allowed"))
    return Entry(server, str(spec.get("uid")), access, document.deleting is not None, labels)


class Runs:
    """Documents of runs by the RopServer they are about."""

    def __init__(self) -> None:
        self._server: dict[Ref, Ref] = {}
        self._by_server: dict[Ref, set[Ref]] = {}

    def update(self, ref: Ref, document: Document | None) -> None:
        """Take a new version in."""
        old = self._server.pop(ref, None)
        if old is not None:
            self._by_server[old].discard(ref)
        new = server_of(document) if document is not None else None
        if new is not None:
            self._server[ref] = new
            self._by_server.setdefault(new, set()).add(ref)

    def of_server(self, server: Ref) -> list[Ref]:
        """Runs about this server."""
        return sorted(self._by_server.get(server, ()))

    def of_kind(self, kind: str) -> list[Ref]:
        """Runs of this kind."""
        return sorted(ref for ref in self._server if ref.kind == kind)
