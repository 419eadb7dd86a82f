"""config.json: every member's rule, strict JSON, generated values."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rop_data.config import Config, ConfigError, generate, load, parse, patch
from rop_data.members import MEMBERS, Member, get

BAD: dict[str, list[Any]] = {
    "uint": [-1, 2**60, 1.5, "5", True, None, [], {}],
    "text": [None, 5, True, [], {}, "x" * 2000],
    "word": ["tls", "", None, 1],
    "bool": ["true", 1, 0, None],
    "map": [{}, [], None, "x", {"short": "k" * 32}, {"i" * 16: "short"}, {"i" * 16: 5}],
    "any": [],
}


def set_member(raw: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    *parents, last = name.split(".")
    node = raw
    for part in parents:
        node = node.setdefault(part, {})
    node[last] = value
    return raw


@pytest.mark.parametrize(
    ("member", "value"),
    [pytest.param(m, v, id=f"{m.name}={v!r:.20}") for m in MEMBERS for v in BAD[m.kind]],
)
def test_a_bad_value_names_member_rule_and_value(
    vendor_config: dict[str, Any], member: Member, value: Any
) -> None:
    with pytest.raises(ConfigError) as failure:
        Config(set_member(vendor_config, member.name, value))
    text = str(failure.value)
    assert text.startswith(f"{member.name}: must be ")
    assert member.rule in text
    assert failure.value.member == member.name
    shown = text.rpartition(", not ")[2]
    assert shown == "(hidden)" if member.secret else shown.startswith(repr(value)[:20])


@pytest.mark.parametrize("name", [m.name for m in MEMBERS if m.mandatory])
def test_a_missing_mandatory_member_is_named(vendor_config: dict[str, Any], name: str) -> None:
    *parents, last = name.split(".")
    node = vendor_config
    for part in parents:
        node = node[part]
    del node[last]
    with pytest.raises(ConfigError, match=f"^{re.escape(name)}: must be present"):
        Config(vendor_config)


@pytest.mark.parametrize("member", [m for m in MEMBERS if not m.mandatory], ids=lambda m: m.name)
def test_a_missing_optional_member_has_its_builtin(vendor_config: dict[str, Any], member: Member) -> None:
    top = member.name.split(".", maxsplit=1)[0]
    vendor_config.pop(top, None)
    if top in ("authCode", "upgrade", "rtsp", "alarm", "logs"):
        kept = {"authCode": {"signKey": "k"}, "rtsp": {"playURLPrefix": "rtsp://x"}}
        vendor_config[top] = kept.get(top, {})
    assert Config(vendor_config).get(member.name) == member.builtin


def test_a_port_is_used_once(vendor_config: dict[str, Any]) -> None:
    vendor_config["ports"]["clientRtsp"] = 61000
    with pytest.raises(ConfigError, match="ports: must be all different"):
        Config(vendor_config)


def test_current_key_index_is_one_of_the_keys(vendor_config: dict[str, Any]) -> None:
    vendor_config["deviceAuth"]["currentKeyIndex"] = "x" * 16
    with pytest.raises(ConfigError, match="currentKeyIndex") as failure:
        Config(vendor_config)
    assert "k" * 31 not in str(failure.value)


@pytest.mark.parametrize("host", ["../../../etc/x", "a/b", "a\nb"])
def test_a_host_is_no_path(vendor_config: dict[str, Any], host: str) -> None:
    vendor_config["serverHost"] = host
    with pytest.raises(ConfigError, match=r"^serverHost"):
        Config(vendor_config)


def test_a_long_host_is_read_but_not_written(vendor_config: dict[str, Any]) -> None:
    vendor_config["serverHost"] = "a" * 100 + ".example"
    assert Config(vendor_config).server_host.startswith("aaa")
    with pytest.raises(ConfigError, match="62 bytes"):
        patch(vendor_config, {"serverHost": "b" * 63})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"5",
        b"{",
        b"{\n 'a': 1}",
        b'{"a": 1,}',
        b"// c\n{}",
        b'{"a": process.exit()}',
        b'\xff{"a":1}',
        b"[" * 100_000,
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
    ],
)
def test_only_strict_json(text: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^config\.json"):
        parse(text)


def test_place_of_a_syntax_error_is_told() -> None:
    with pytest.raises(ConfigError, match="line 2, column"):
        parse(b'{\n  "a": oops}')


def test_generated_configuration(environment: dict[str, str]) -> None:
    raw = generate(environment)
    config = Config(raw)
    assert [config.port(n) for n in ("getCAHttps", "signalingTLS", "clientHttp")] == [61000, 61005, 61009]
    assert config.server_host == environment["ROP_HOSTNAME"]
    assert config.alarm_url == environment["ROP_ALARM_WEBHOOK"]
    assert re.fullmatch("[A-Za-z0-9]{32}", config.sign_key)
    ((index, key),) = config.device_keys.items()
    assert re.fullmatch("[A-Za-z0-9]{16}", index)
    assert re.fullmatch("[A-Za-z0-9]{32}", key)
    assert config.current_key_index == index
    assert raw["application"]["instanceId"] != "553ef7e3-16d5-4ff0-82bb-099b4b1697c4"
    assert "heartBeatInterval" not in raw
    assert "socket" not in raw["timeout"]
    assert raw["timeout"]["signalingConnectionIdle"] == 30_000


def test_without_a_webhook_alarms_are_off(environment: dict[str, str]) -> None:
    del environment["ROP_ALARM_WEBHOOK"]
    raw = generate(environment)
    assert raw["alarm"] == {"enabled": False, "notificationURL": ""}
    assert Config(raw).alarm_url is None


def test_patch_sets_and_removes_and_leaves_the_original(vendor_config: dict[str, Any]) -> None:
    before = json.dumps(vendor_config)
    patched = patch(
        vendor_config, {"timeout.streamTimeout": None, "heartBeatInterval": 30, "alarm.enabled": False}
    )
    assert json.dumps(vendor_config) == before
    assert "streamTimeout" not in patched["timeout"]
    assert patched["heartBeatInterval"] == 30
    assert list(patched) == [*vendor_config, "heartBeatInterval"]
    assert patched["futureMember"] == vendor_config["futureMember"]


def test_cert_object_appears_whole(vendor_config: dict[str, Any]) -> None:
    del vendor_config["cert"]
    patched = patch(vendor_config, {"cert.clientCertValidDays": 90})
    assert patched["cert"] == {
        "workDir": "/data/certs",
        "serverCertValidDays": 90,
        "serverCertValidDaysBefore": 30,
        "clientCertValidDays": 90,
    }


@pytest.mark.parametrize("name", ["serverHost", "ports.keepAliveTCP", "authCode.signKey"])
def test_a_mandatory_member_cannot_be_removed(vendor_config: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(name)):
        patch(vendor_config, {name: None})


def test_a_secret_that_is_refused_is_not_shown(vendor_config: dict[str, Any]) -> None:
    secret = "https://hooks.example.com/" + "topsecret" * 200
    for name, value in (
        ("alarm.notificationURL", secret),
        ("deviceAuth.deviceKeys", {"i" * 16: "topsecret"}),
        ("authCode.signKey", ["topsecret"]),
    ):
        with pytest.raises(ConfigError) as failure:
            patch(vendor_config, {name: value})
        assert "topsecret" not in str(failure.value)


def test_file_round_trip(tmp_path: Path, vendor_config: dict[str, Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(vendor_config))
    config = load(tmp_path / "config.json")
    assert config.raw == vendor_config
    assert {m.name for m, _ in config.members()} <= {m.name for m in MEMBERS}
    assert all(get(vendor_config, m.name) == value for m, value in config.members())


def test_table_names_every_member_once() -> None:
    names = [m.name for m in MEMBERS]
    assert len(names) == len(set(names))
    check: Callable[[Member], bool] = lambda m: m.builtin is None or m.accepts(m.builtin)  # noqa: E731
    assert [m.name for m in MEMBERS if not check(m)] == []
