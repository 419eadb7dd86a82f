"""Two Cameras with one UID on one server: the oldest claim acts, the others wait."""

from __future__ import annotations

from datetime import UTC, datetime

from rop_operator.api.facts import Document
from rop_operator.domain.snapshot import CameraSnapshot

_LAST = datetime.max.replace(tzinfo=UTC)


def _age(document: Document) -> tuple[datetime, str, str]:
    return (document.created or _LAST, document.uid, str(document.ref))


def live_rivals(snapshot: CameraSnapshot) -> tuple[Document, ...]:
    """Other Cameras that claim the same UID on the same server and are not being deleted, oldest first."""
    return tuple(sorted((d for d in snapshot.rivals if d.deleting is None), key=_age))


def owner(snapshot: CameraSnapshot) -> Document:
    """The Camera that acts for this UID."""
    return min((snapshot.document, *live_rivals(snapshot)), key=_age)


def owns(snapshot: CameraSnapshot) -> bool:
    """Whether this Camera acts for its UID."""
    return owner(snapshot).ref == snapshot.document.ref
