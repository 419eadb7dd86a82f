"""Which devices count when something they hold is to be given up. Observed facts only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from rop_server.state.book import FactsBook
from rop_server.state.record import Record

NAMED = 20
"""So many devices are named where all of them would be too many."""


def living(book: FactsBook, now: float) -> Iterator[Record]:
    """Devices that may come back: not denied, with a certificate that has not ended, or claimed.

    A device of which no certificate was seen is not known here, and so not counted. `now` in epoch seconds.
    """
    claimed = book.claims().uids
    for uid in book.uids():
        record = _admitted(book, uid, now)
        if record is None or record.certificate is None:
            continue
        ends = record.certificate.not_after
        if ends is None or ends > now or uid in claimed:
            yield record


def named(uids: Iterable[str]) -> dict[str, Any]:
    """For a rotation's `detail`: how many devices hold the old thing, and the first of them."""
    held = sorted(uids)
    return {"holders": len(held), "holdersNamed": held[:NAMED]}


def census(book: FactsBook, key_index: str, now: float) -> dict[str, Any]:
    """Who holds what, of all devices that are not denied. `key_index` is the current one, `now` epoch seconds.

    Roots that are `assumed` were not seen: an adopted site has one root only. A renewal is overdue when more than
    two thirds of the certificate's life are over.
    """
    records = [r for uid in book.uids() if (r := _admitted(book, uid, now)) is not None]
    held = [(record, record.certificate) for record in records if record.certificate is not None]
    ends = [
        (record.uid, held_.issued_at, held_.not_after) for record, held_ in held if held_.not_after is not None
    ]
    return {
        "devices": len(records),
        "withoutCertificate": len(records) - len(held),
        "byRoot": _counted("sha256", (r.pinned_root for r in records)),
        "assumedRoot": sum(record.pinned_assumed for record in records),
        "byIssuer": _counted("keyID", (certificate.issuer for _, certificate in held)),
        "byExpiryWeek": _counted("week", (_week(end) for _, _, end in ends)),
        "byDeviceKey": _counted("key", (_key(record.key_index, key_index) for record in records)),
        "expired": _named(uid for uid, _, end in ends if end <= now),
        "renewalOverdue": _named(
            uid for uid, at, end in ends if at is not None and at + (end - at) * 2 / 3 < now < end
        ),
    }


def _admitted(book: FactsBook, uid: str, now: float) -> Record | None:
    return book.record(uid) if book.admit(uid, None, None, None, now) is None else None


def _counted(name: str, values: Iterable[str | None]) -> list[dict[str, Any]]:
    found = Counter("unknown" if value is None else value for value in values)
    return [{name: value, "devices": number} for value, number in sorted(found.items())]


def _named(uids: Iterable[str]) -> dict[str, Any]:
    found = sorted(uids)
    return {"devices": len(found), "named": found[:NAMED]}


def _week(end: float) -> str | None:
    """ISO year and week."""
    try:
        year, week, _ = datetime.fromtimestamp(end, UTC).isocalendar()
    except (ValueError, OverflowError):
        return None
    return f"{year}-W{week:02}"


def _key(shown: str | None, current: str) -> str | None:
    return None if shown is None else "current" if shown == current else "older"
