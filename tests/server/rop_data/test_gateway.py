"""rop.json: what a gateway in front of the server may have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rop_data import settings
from rop_data.config import ConfigError
from rop_data.gateway import GatewaySettings
from rop_data.settings import RopSettings


def test_a_site_of_before_lets_no_gateway_have_anything(tmp_path: Path) -> None:
    path = tmp_path / "rop.json"
    document = json.loads(RopSettings.new(adopted=True).encode())
    del document["gateway"]
    path.write_text(json.dumps(document))
    loaded = settings.load(path)
    assert loaded is not None and loaded.gateway == GatewaySettings()


def test_one_spelling_of_names_and_networks(tmp_path: Path) -> None:
    told = {"hosts": ["GW.example.net", "2001:DB8:0::1"], "proxies": ["192.0.2.7", "2001:db8::/64"]}
    some = settings.patch(RopSettings.new(adopted=False), {"rop.gateway": told})
    assert some.gateway == GatewaySettings(("gw.example.net", "2001:db8::1"), ("192.0.2.7/32", "2001:db8::/64"))
    settings.save(tmp_path / "rop.json", some)
    assert settings.load(tmp_path / "rop.json") == some
    assert settings.patch(some, {"rop.gateway": None}).gateway == GatewaySettings()


@pytest.mark.parametrize(
    ("member", "raw"),
    [
        ("rop.gateway", []),
        ("rop.gateway", {"host": "gw.example.net"}),
        ("rop.gateway.hosts", {"hosts": "gw.example.net"}),
        ("rop.gateway.hosts", {"hosts": ["https://gw.example.net"]}),
        ("rop.gateway.hosts", {"hosts": ["gw.example.net:61010"]}),
        ("rop.gateway.hosts", {"hosts": ["a"] * 9}),
        ("rop.gateway.proxies", {"proxies": ["192.0.2.7/24"]}),
        ("rop.gateway.proxies", {"proxies": ["gw.example.net"]}),
    ],
)
def test_what_cannot_be(member: str, raw: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        settings.patch(RopSettings.new(adopted=False), {"rop.gateway": raw})
    assert refused.value.member == member
