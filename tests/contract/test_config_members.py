"""The engine's table of config members against the server's own: names, values, secrets, when they take effect."""

from typing import Any

import pytest

from rop_data.members import BY_NAME
from rop_data.settings import PATCHABLE, RopSettings, patch
from rop_operator.api.parse import server_spec
from rop_operator.domain.config_map import TABLE, desired_members

LEAST: dict[str, Any] = {
    "host": "a",
    "ports": {
        "getCAHttps": 1,
        "getCertHttps": 2,
        "registerHttps": 3,
        "keepAliveTCP": 4,
        "signalingTLS": 5,
        "streamTLS": 6,
        "streamTCP": 7,
        "clientRtsp": 8,
        "clientHttp": 9,
    },
    "deviceStream": {"encryption": "TCP"},
    "enrolment": {"codeExpiry": "10s"},
    "alarms": {"sinks": []},
    "authority": {
        "serverCertificate": {"validityDays": 2, "renewBeforeDays": 1},
        "deviceCertificate": {"validityDays": 1},
    },
    "rtsp": {"playURLPrefix": "rtsp://a", "playURLExpiry": "1s"},
    "upgrades": {"maxSessions": 10, "sessionTTL": "1m"},
    "timeouts": {
        "socket": "1s",
        "stream": "1s",
        "signalingExec": "1s",
        "signalingConnectionIdle": "1s",
        "wakeupDevice": "1s",
        "wakeupExec": "1s",
        "upgradeSignaling": "1s",
        "snap": "5s",
    },
    "heartBeatInterval": "1s",
    "logs": {"levels": ["Error"]},
    "gateway": {"host": "a"},
}
MOST: dict[str, Any] = {
    **LEAST,
    "host": "a" * 62,
    "ports": dict.fromkeys(LEAST["ports"], 65535),
    "deviceStream": {"encryption": "EncryptTCP"},
    "enrolment": {"codeExpiry": "1h"},
    "authority": {
        "serverCertificate": {"validityDays": 3650, "renewBeforeDays": 3649},
        "deviceCertificate": {"validityDays": 3650},
    },
    "rtsp": {"playURLPrefix": "rtsps://" + "a" * 255 + "/" + "b" * 500, "playURLExpiry": "1h"},
    "upgrades": {"maxSessions": 10000, "sessionTTL": "1h"},
    "heartBeatInterval": "18h12m15s",
    "gateway": {"host": "2001:db8::1"},
}
OURS = [row for row in TABLE if row.member.startswith("rop.")]


@pytest.mark.parametrize("row", [row for row in TABLE if row not in OURS], ids=lambda row: row.member)
def test_both_tables_agree(row: Any) -> None:
    member = BY_NAME[row.member]
    assert member.apply.value == row.apply
    assert member.secret == row.secret


@pytest.mark.parametrize("spec", [LEAST, MOST], ids=["least", "most"])
def test_the_server_takes_every_value_a_document_may_ask_for(spec: dict[str, Any]) -> None:
    members = desired_members(server_spec(spec), {})
    assert set(members) == {row.member for row in TABLE}
    refused = [name for name, value in members.items() if name in BY_NAME and not BY_NAME[name].accepts(value)]
    assert refused == []
    ours = {name: value for name, value in members.items() if name not in BY_NAME}
    assert set(ours) <= set(PATCHABLE)
    assert patch(RopSettings.new(adopted=False), ours).gateway.hosts == tuple(ours["rop.gateway"]["hosts"])
