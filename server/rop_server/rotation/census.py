"""Which devices count when something they hold is to be given up. Observed facts only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
        record = book.record(uid)
        if record is None or record.certificate is None or book.admit(uid, None, None, None, now) is not None:
            continue
        ends = record.certificate.not_after
        if ends is None or ends > now or uid in claimed:
            yield record


def named(uids: Iterable[str]) -> dict[str, Any]:
    """For a rotation's `detail`: how many devices hold the old thing, and the first of them."""
    held = sorted(uids)
    return {"holders": len(held), "holdersNamed": held[:NAMED]}
