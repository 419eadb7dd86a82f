"""Pairs: what can be served, and the words for what cannot."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from rop_gateway.folder import Folder
from rop_gateway.pair import Pair, Problem, examine

HOST = "gw.example.net"


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def reason(pair: Pair, host: str = HOST) -> str | None:
    found = examine(pair, host, now())
    return None if found is None else found.reason


def pem(key: Any, encryption: Any = None) -> bytes:
    raw: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return raw


@pytest.mark.parametrize(
    ("names", "host"),
    [
        ((HOST,), HOST),
        (("GW.example.net",), HOST),
        (("*.example.net",), HOST),
        (("other.example.net", HOST), HOST),
        (("192.0.2.1",), "192.0.2.1"),
        (("2001:db8::1",), "2001:db8:0::1"),
    ],
)
def test_good(authority: Any, names: tuple[str, ...], host: str) -> None:
    assert reason(authority.pair(*names), host) is None


@pytest.mark.parametrize(
    ("names", "host"),
    [
        (("other.example.net",), HOST),
        (("*.example.net",), "a.gw.example.net"),
        (("*.net",), HOST),
        (("192.0.2.1",), "192.0.2.2"),
    ],
)
def test_names(authority: Any, names: tuple[str, ...], host: str) -> None:
    assert reason(authority.pair(*names), host) == "NameMismatch"


def test_dates(authority: Any) -> None:
    assert reason(authority.pair(days=(-90, -1))) == "Expired"
    assert reason(authority.pair(days=(1, 90))) == "NotYetValid"


def test_the_key_of_another(authority: Any) -> None:
    one, other = authority.pair(), authority.pair()
    assert reason(Pair(one.chain_pem, other.key_pem)) == "KeyMismatch"


def test_keys_that_cannot_be_used(authority: Any) -> None:
    pair = authority.pair()
    key = load_pem_private_key(pair.key_pem, None)
    for bad in (
        pem(key, BestAvailableEncryption(b"secret")),
        pem(rsa.generate_private_key(65537, 1024)),
        pem(ed25519.Ed25519PrivateKey.generate()),
        b"",
        pair.chain_pem,
    ):
        assert reason(Pair(pair.chain_pem, bad)) == "KeyUnusable"


def test_chains(authority: Any) -> None:
    pair = authority.pair()
    leaf, intermediate = (each.public_bytes(Encoding.PEM) for each in pair.chain)
    assert reason(Pair(leaf + authority.root_pem, pair.key_pem)) == "ChainInvalid"
    assert reason(Pair(intermediate + leaf, pair.key_pem)) == "KeyMismatch"
    assert reason(Pair(b"no certificate", pair.key_pem)) == "ChainInvalid"
    assert reason(Pair(leaf + intermediate + authority.root_pem, pair.key_pem)) is None
    assert reason(authority.pair(usage=ExtendedKeyUsageOID.CLIENT_AUTH)) == "ChainInvalid"


def test_no_text_tells_the_key(authority: Any) -> None:
    pair = authority.pair()
    assert "PRIVATE" not in repr(pair)
    assert isinstance(
        examine(Pair(pair.chain_pem, pem(ec.generate_private_key(ec.SECP256R1()))), HOST, now()), Problem
    )


def test_a_pair_lies_whole_in_its_folder(authority: Any, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "gateway")
    folder.make()
    old, new = authority.pair(days=(-9, 9)), authority.pair(days=(-1, 90))
    places = [folder.keep(each) for each in (new, old, new)]
    assert places[0] == places[2] != places[1]
    assert (places[0] / "key.pem").stat().st_mode & 0o777 == 0o600
    assert [each.serial for each in folder.kept()] == [new.serial, old.serial]
    folder.forget_others(places[0])
    assert [each.serial for each in folder.kept()] == [new.serial]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.make()
    (folder.pairs / ".pair.x.new").mkdir()
    (tmp_path / ".status.json.x.new").write_text("half")
    folder.make()
    assert not list(tmp_path.rglob(".*.new"))
