"""The configuration of nginx: as the golden files say, and taken by the real nginx."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rop_gateway.config import Gateway
from rop_gateway.folder import Folder
from rop_gateway.nginx import Nginx, NginxError, find_nginx, try_out
from rop_gateway.render import render

GOLDEN = Path(__file__).with_name("golden")
DEBIAN_12 = Nginx(Path("/usr/sbin/nginx"), (1, 22, 1), Path("/usr/lib/nginx/modules/ngx_stream_module.so"))
DEBIAN_13 = Nginx(Path("/usr/sbin/nginx"), (1, 26, 3), Path("/usr/lib/nginx/modules/ngx_stream_module.so"))
PAIR = Path("/var/lib/rop-gateway/tls/SERIAL")
FULL: dict[str, Any] = {
    "listen": ["192.0.2.1", "2001:db8::1"],
    "certificate": {"source": "Files", "chainFile": "/etc/rop/tls.crt", "keyFile": "/etc/rop/tls.key"},
    "htpasswdFile": "/etc/rop/htpasswd",
    "clientCAFile": "/etc/rop/clients.pem",
    "access": [
        {"user": "guard", "verbs": ["read", "live"], "cameras": {"labels": {"area": "yard"}}},
        {"certificate": "wall", "verbs": ["live"]},
    ],
    "allowedOrigins": ["https://wall.example.net", "http://localhost:8080"],
    "play": {"bindToAddress": True, "singleViewer": True},
    "limits": {"requestsPerSecond": 50, "firmwareMiB": 64, "longestSession": "12h"},
}
EXTERNAL: dict[str, Any] = {
    "certificate": {"source": "External"},
    "trustedProxies": ["192.0.2.0/24"],
    "proxyProtocol": True,
    "playURLPrefix": "rtsps://cams.example.net:443",
}
CASES: dict[str, tuple[dict[str, Any], Nginx, Path | None]] = {
    "least": ({}, DEBIAN_12, PAIR),
    "full": (FULL, DEBIAN_13, PAIR),
    "external": (EXTERNAL, DEBIAN_12, None),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(document: Callable[..., Gateway], name: str) -> None:
    """`ROP_GOLDEN=write pytest ...` writes them; look at the difference before it is committed."""
    members, nginx, pair = CASES[name]
    text = render(document(**members), nginx, pair)
    path = GOLDEN / f"{name}.conf"
    if os.environ.get("ROP_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_nginx_takes_it(document: Callable[..., Gateway], authority: Any, short_path: Path, name: str) -> None:
    members, _, pair = CASES[name]
    folder = Folder(short_path)
    folder.make()
    place = folder.keep(authority.pair()) if pair is not None else None
    (short_path / "clients.pem").write_bytes(authority.root_pem)
    here = {"directory": str(short_path), "sockets": str(short_path), "listen": ["127.0.0.1", "::1"]}
    if "clientCAFile" in members:
        here["clientCAFile"] = str(short_path / "clients.pem")
    folder.write(folder.configuration, render(document(**members | here), find_nginx(), place).encode())
    try_out(find_nginx(), folder.configuration)


def test_what_nginx_refuses_is_said_in_its_words(short_path: Path) -> None:
    (short_path / "nginx.conf").write_text("events {}\nhttp { ssl_protocols TLSv9; }\n")
    with pytest.raises(NginxError, match="TLSv9"):
        try_out(find_nginx(), short_path / "nginx.conf")


def test_no_header_is_lost_to_a_location(document: Callable[..., Gateway]) -> None:
    """An `add_header` in a location hides all those of the server."""
    text = render(document(**FULL), DEBIAN_12, PAIR)
    inside = False
    for line in text.splitlines():
        inside = line.startswith("        location") or (inside and line != "        }")
        assert not (inside and "add_header" in line), line
