"""Which devices are waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rop_server.rotation.census import NAMED, census, living, named
from rop_server.state.book import FactsBook

NOW = 1_000_000.0
VALID, ENDED, CLAIMED, DENIED, BARE = (f"95270000000TEST{number}" for number in range(5))


@pytest.fixture
def book(tmp_path: Path) -> Any:
    made = FactsBook(tmp_path / "state.db", lambda: NOW)
    for uid in (VALID, ENDED, CLAIMED, DENIED):
        ends = NOW + 60 if uid in (VALID, DENIED) else NOW - 60
        made.certificate_issued(uid, f"0{uid[-1]}", ends, "aa", "LongCode", None, NOW - 900)
    made.replace_claims("Documented", [CLAIMED, BARE])
    made.set_access(DENIED, "Denied")
    yield made
    made.close()


def test_valid_certificates_and_claims_count(book: FactsBook) -> None:
    assert [record.uid for record in living(book, NOW)] == [VALID, CLAIMED]


def test_certificates_are_counted_by_number_not_by_the_clock(book: FactsBook) -> None:
    mark = book.newest_certificate()
    assert book.certified_since(mark) == set()
    book.certificate_issued(ENDED, "77", NOW + 60, "aa", "LongCode", None, NOW - 5000)
    assert book.certified_since(mark) == {ENDED}
    assert book.newest_certificate() == mark + 1


def test_the_census_groups_all_that_are_not_denied(book: FactsBook) -> None:
    told = census(book, "INDEX", NOW)
    assert (told["devices"], told["withoutCertificate"]) == (4, 1)
    assert told["byIssuer"] == [{"keyID": "aa", "devices": 3}]
    assert sum(row["devices"] for row in told["byExpiryWeek"]) == 3
    assert told["byExpiryWeek"][0]["week"] == "1970-W03"
    assert told["expired"] == {"devices": 2, "named": [ENDED, CLAIMED]}
    assert told["renewalOverdue"] == {"devices": 1, "named": [VALID]}


def test_only_the_first_holders_are_named() -> None:
    told = named(f"UID{number:03}" for number in range(50))
    assert told["holders"] == 50
    assert told["holdersNamed"] == [f"UID{number:03}" for number in range(NAMED)]
