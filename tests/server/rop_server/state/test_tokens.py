"""Tokens: shown once, hashed at rest, revocable while a server runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rop_server.state.book import FactsBook
from rop_server.state.tokens import TokenError, TokenStore


def test_life_of_a_token(book: FactsBook, tmp_path: Path) -> None:
    beside = TokenStore.open(tmp_path / "state.db")
    token = beside.create("ops", "Control", 5.0)
    assert token.startswith("rop_") and len(token) >= 4 + 22
    info = book.tokens.verify(token)
    assert info is not None and (info.name, info.scope, info.created_at) == ("ops", "Control", 5.0)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token.encode() not in stored and token[4:].encode() not in stored
    beside.revoke("ops")
    assert book.tokens.verify(token) is None
    beside.close()


@pytest.mark.parametrize("guess", ["", "rop_", "rop_x", "x", "rop_\N{SNOWMAN}"])
def test_unknown_tokens(book: FactsBook, guess: str) -> None:
    assert book.tokens.verify(guess) is None


@pytest.mark.parametrize(("name", "scope"), [("", "Admin"), ("a b", "Admin"), ("-x", "Admin"), ("ok", "Root")])
def test_refused_tokens(book: FactsBook, name: str, scope: str) -> None:
    with pytest.raises(TokenError):
        book.tokens.create(name, scope, 0.0)


def test_names_are_unique(book: FactsBook) -> None:
    book.tokens.create("ops", "Admin", 0.0)
    with pytest.raises(TokenError, match="exists"):
        book.tokens.create("ops", "Admin", 0.0)
    with pytest.raises(TokenError, match="no token"):
        book.tokens.revoke("other")
