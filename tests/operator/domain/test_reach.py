"""Hosts that a camera with a mobile connection cannot reach."""

import pytest

from rop_operator.domain.reach import not_public


@pytest.mark.parametrize(
    "host",
    ["rop.example.net", "ROP.Example.NET.", "9.9.9.9", "2606:4700::1111", "[2606:4700::1111]", "my.home.example"],
)
def test_nothing_speaks_against_public_hosts(host: str) -> None:
    assert not_public(host) is None


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("192.168.1.2", "not a public address"),
        ("10.0.0.1", "not a public address"),
        ("100.64.0.1", "not a public address"),
        ("127.0.0.1", "not a public address"),
        ("192.0.2.1", "not a public address"),
        ("224.0.1.1", "not a public address"),
        ("fd00::1", "not a public address"),
        ("fe80::1", "not a public address"),
        ("server", "this network only"),
        ("nas.local", "below .local"),
        ("nas.fritz.home.arpa.", "below .home.arpa"),
        ("cam.LAN", "below .lan"),
    ],
)
def test_local_hosts_are_told(host: str, said: str) -> None:
    assert said in str(not_public(host))
