"""Tokens of the gateway's callers, labels of cameras, and their tables in a database of before."""

from __future__ import annotations

from pathlib import Path

import pytest

from rop_server.access.grants import decode_grant
from rop_server.state.book import FactsBook
from rop_server.state.database import open_database
from rop_server.state.tokens import TokenError

UID = "95270000LABELS01"
GRANT = decode_grant({"verbs": ["read"], "cameras": {"uids": [UID]}})
DAY = 86_400.0


def test_life_of_a_token(book: FactsBook, tmp_path: Path) -> None:
    tokens, ended = book.gateway_tokens, []
    tokens.revoked = ended.append
    made = tokens.create("wall", GRANT, 0.0, DAY)
    found = tokens.verify(made, DAY - 1)
    assert found is not None and (found.name, found.grant, found.expires_at) == ("wall", GRANT, DAY)
    assert tokens.verify(made, DAY) is None
    assert [each.name for each in tokens.tokens()] == ["wall"]
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert made[4:].encode() not in stored
    tokens.revoke("wall")
    assert (tokens.verify(made, 1.0), ended) == (None, ["wall"])


def test_they_open_nothing_else(book: FactsBook) -> None:
    """A caller's token is none of the management interface, and the other way round."""
    made = book.gateway_tokens.create("wall", GRANT, 0.0, DAY)
    assert book.tokens.verify(made) is None
    assert book.gateway_tokens.verify(book.tokens.create("ops", "Admin", 0.0), 1.0) is None


@pytest.mark.parametrize("guess", ["", "rop_", "rop_x", "x", "rop_\N{SNOWMAN}"])
def test_unknown_tokens(book: FactsBook, guess: str) -> None:
    assert book.gateway_tokens.verify(guess, 0.0) is None


@pytest.mark.parametrize(
    ("name", "verbs", "ends"),
    [
        ("", ["read"], DAY),
        ("a b", ["read"], DAY),
        ("x", [], DAY),
        ("x", ["read"], 0.0),
        ("x", ["read"], 4000 * DAY),
    ],
)
def test_refused_tokens(book: FactsBook, name: str, verbs: list[str], ends: float) -> None:
    with pytest.raises(TokenError):
        book.gateway_tokens.create(name, decode_grant({"verbs": verbs}), 0.0, ends)


def test_labels_are_replaced_whole_and_stay(book: FactsBook, tmp_path: Path) -> None:
    book.labels.replace({UID: {"area": "yard"}})
    assert book.labels.of(UID) == {"area": "yard"}
    connection = open_database(tmp_path / "state.db", durable=True)
    assert connection.execute("SELECT uid FROM label").fetchall() == [(UID,)]
    connection.close()
    book.labels.replace({})
    assert (book.labels.of(UID), len(book.labels)) == ({}, 0)


def test_a_database_of_before_gets_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = open_database(path, durable=True)
    connection.execute("INSERT INTO token VALUES ('ops', x'00', 'Admin', 0)")
    connection.execute("DROP TABLE gateway_token")
    connection.execute("DROP TABLE label")
    connection.execute("PRAGMA user_version=1")
    connection.close()
    connection = open_database(path, durable=True)
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert connection.execute("SELECT name FROM token").fetchall() == [("ops",)]
    assert connection.execute("SELECT * FROM gateway_token").fetchall() == []
    connection.close()
