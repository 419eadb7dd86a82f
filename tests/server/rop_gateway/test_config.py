"""The document: what is taken, and what a refusal says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rop_gateway.config import ConfigError, Gateway, load, parse


def test_the_least(document: Callable[..., Gateway]) -> None:
    told = document()
    assert (told.https_port, told.rtsps_port) == (61010, 61004)
    assert told.certificate.source == "Authority"
    assert told.prefix == "rtsps://gw.example.net:61004"


def test_yaml_with_comments() -> None:
    told = parse("# ours\nhost: GW.Example.net\ndirectory: /d\nsockets: /s\nlimits: {longestSession: 12h}\n")
    assert (told.host, told.limits.longest_session) == ("gw.example.net", 43_200)


@pytest.mark.parametrize(
    ("prefix", "host", "members"),
    [
        ("rtsps://[2001:db8::1]:61004", "2001:db8::1", {}),
        ("rtsps://gw.example.net:554", "gw.example.net", {"rtspsPort": 554}),
        ("rtsps://cams.example.net", "gw.example.net", {"playURLPrefix": "rtsps://cams.example.net"}),
    ],
)
def test_play_addresses_begin_with(
    document: Callable[..., Gateway], prefix: str, host: str, members: dict[str, object]
) -> None:
    assert document(host=host, **members).prefix == prefix


FILES = {"source": "Files", "chainFile": "/c", "keyFile": "/k"}
USER = {"user": "alice", "verbs": ["read"]}
HOLDER = {"certificate": "wall", "verbs": ["read"]}


@pytest.mark.parametrize(
    ("member", "members"),
    [
        ("host", {"host": "https://gw.example.net"}),
        ("host", {"host": "gw.example.net:61010"}),
        ("host", {"host": "gw example"}),
        ("host", {"host": None}),
        ("hostt", {"hostt": "x"}),
        ("httpsPort", {"httpsPort": 0}),
        ("httpsPort", {"httpsPort": "61010"}),
        ("rtspsPort", {"rtspsPort": 61010}),
        ("listen.0", {"listen": ["eth0"]}),
        ("directory", {"directory": "relative"}),
        ("directory", {"directory": "/a;include /etc/passwd"}),
        ("directory", {"directory": "/a/../b"}),
        ("sockets", {"sockets": "/" + "x" * 100}),
        ("certificate", {"certificate": {"source": "Files"}}),
        ("certificate", {"certificate": {"source": "Authority", "chainFile": "/c"}}),
        ("certificate.source", {"certificate": {"source": "Magic"}}),
        ("htpasswdFile", {"access": [USER]}),
        ("clientCAFile", {"access": [HOLDER]}),
        ("access", {"clientCAFile": "/ca.pem"}),
        ("access", {"htpasswdFile": "/p", "access": [USER, USER]}),
        ("access.0", {"access": [{"verbs": ["read"]}]}),
        ("access.0.verbs.0", {"htpasswdFile": "/p", "access": [USER | {"verbs": ["everything"]}]}),
        ("access.0.cameras", {"htpasswdFile": "/p", "access": [USER | {"cameras": {}}]}),
        ("access.0.cameras.uids.0", {"htpasswdFile": "/p", "access": [USER | {"cameras": {"uids": ["x"]}}]}),
        ("allowedOrigins.0", {"allowedOrigins": ["*"]}),
        ("allowedOrigins.0", {"allowedOrigins": ["https://wall.example.net/"]}),
        ("allowedOrigins.0", {"allowedOrigins": ['https://x";']}),
        ("playURLPrefix", {"playURLPrefix": "rtsp://gw.example.net"}),
        ("trustedProxies", {"certificate": {"source": "External"}}),
        ("trustedProxies", {"trustedProxies": ["192.0.2.1"]}),
        ("trustedProxies.0", {"certificate": {"source": "External"}, "trustedProxies": ["lb"]}),
        ("proxyProtocol", {"proxyProtocol": True}),
        (
            "play.bindToAddress",
            {
                "certificate": {"source": "External"},
                "trustedProxies": ["192.0.2.1"],
                "play": {"bindToAddress": True},
            },
        ),
        ("limits", {"limits": {"longestSession": "1s"}}),
        ("limits.longestSession", {"limits": {"longestSession": 3600}}),
        ("limits.requestsPerSecond", {"limits": {"requestsPerSecond": 0}}),
        ("limits.firmwareMiB", {"limits": {"firmwareMiB": 2000}}),
    ],
)
def test_a_refusal_names_the_member(text_of: Callable[..., str], member: str, members: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text_of(**members))
    assert member in [name for name, _ in refused.value.problems], refused.value.problems


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("host: [", "line 1"),
        ("- host", "must be an object"),
        ("host: a\nhost: b\ndirectory: /d\nsockets: /s", "host: is there twice"),
        ("!!python/object:os.system {}", "is not YAML"),
    ],
)
def test_what_is_no_document(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "x.yaml")
