"""HTTPS: who gets in, what they may do, what nginx refuses by itself."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Callable
from typing import Any

import pytest

UID, OTHER = "95270000GATEWAY1", "95270000GATEWAY2"
LIVE = {"streamType": "subStream", "channel": 0}


def test_credentials(gateway: Callable[..., Any], basic: Any, bearer: Any) -> None:
    one = gateway()
    nobody = one.call("GET", "/v1.0/devices")
    assert (nobody.status, nobody.symbol) == (401, "auth_failed")
    assert nobody.headers["www-authenticate"] == 'Basic realm="ROP", charset="UTF-8"'
    assert nobody.headers["content-type"] == "application/json; charset=utf-8"
    wrong = (
        basic(password="wrong"),
        basic(user="bob"),
        basic(user="alice\n"),
        {"Authorization": "Basic !"},
        {"Authorization": "Digest x"},
        bearer("rop_" + "x" * 40),
        bearer(""),
        bearer("x" * 5000),
    )
    for each in wrong:
        assert one.call("GET", "/v1.0/devices", **each).status == 401, each
    good = one.call("GET", "/v1.0/devices", **basic())
    assert (good.status, good.json()) == (200, {"totalRows": 0, "items": []})
    assert one.call("GET", "/v1.0/nothing", **basic()).status == 404
    token = one.token("wall", "read")
    assert one.call("GET", "/v1.0/devices", **bearer(token)).status == 200
    assert one.call("GET", f"/v1.0/devices?token={token}").status == 401
    refused = one.call("POST", "/v1.0/devices/initialization-session", {"uid": UID}, **bearer(token))
    assert (refused.status, refused.symbol) == (403, "auth_failed")
    assert "www-authenticate" not in refused.headers


def test_the_life_of_a_token(gateway: Callable[..., Any], bearer: Any, poll: Callable[..., Any]) -> None:
    one = gateway()
    token = one.token("wall", "read")
    assert one.call("GET", "/v1.0/devices", **bearer(token)).status == 200
    status, told = one.site.manage("GET", "/gateway/tokens")
    assert status == 200
    assert [each["name"] for each in told["items"]] == ["wall"]
    assert token not in json.dumps(told)
    assert token.encode() not in b"".join(each.read_bytes() for each in one.site.data.glob("state.db*"))
    assert one.manage("POST", "/gateway/tokens", _request("wall"))[0] == 409
    assert one.manage("DELETE", "/gateway/tokens/wall")[0] == 200
    assert one.call("GET", "/v1.0/devices", **bearer(token)).status == 401
    assert one.manage("DELETE", "/gateway/tokens/wall")[0] == 404
    short = one.token("short", "read", days=2 / 86_400)
    poll("it ends", lambda: one.call("GET", "/v1.0/devices", **bearer(short)).status == 401)


def _request(name: str = "x", **members: Any) -> dict[str, Any]:
    return {"name": name, "verbs": ["read"], "expiresAt": "2027-01-01T00:00:00Z"} | members


@pytest.mark.parametrize(
    ("field", "members"),
    [
        ("name", {"name": "a b"}),
        ("verbs", {"verbs": ["everything"]}),
        ("verbs", {"verbs": []}),
        ("expiresAt", {"expiresAt": "tomorrow"}),
        ("expiresAt", {"expiresAt": "2020-01-01T00:00:00Z"}),
        ("expiresAt", {"expiresAt": "2099-01-01T00:00:00Z"}),
        ("expiresAt", {"expiresAt": "2027-01-01T00:00:00"}),
        ("cameras", {"cameras": {}}),
        ("cameras.uids", {"cameras": {"uids": ["x"]}}),
        ("cameras.labels", {"cameras": {"labels": {"area": 1}}}),
        ("scope", {"scope": "Admin"}),
    ],
)
def test_a_token_that_cannot_be(site: Any, field: str, members: dict[str, Any]) -> None:
    _, manager = site.manage("GET", "/manager")
    path = f"/gateway/tokens?fence={manager['fence']}"
    status, told = site.manage("POST", path, _request(**members), Rop_Manager="contract")
    assert (status, told["error"]["field"]) == (422, field)
    assert site.manage("GET", "/gateway/tokens")[1]["items"] == []


def test_cameras_of_a_token(gateway: Callable[..., Any], joined: Callable[..., Any], bearer: Any) -> None:
    """By UID and by label; lists and bodies are looked at as well as paths."""
    one = gateway()
    joined(UID)
    joined(OTHER)
    by_uid = bearer(one.token("uid", "read", "live", "provision", "control", cameras={"uids": [UID]}))
    by_label = bearer(one.token("label", "read", cameras={"labels": {"area": "yard", "wired": "yes"}}))
    everyone = bearer(one.token("all", "read", "firmware"))
    labels = {UID: {"area": "yard"}, OTHER: {"area": "yard", "wired": "yes"}}
    assert one.manage("PUT", "/labels", {"labels": labels}) == (200, {"cameras": 2})

    def seen(who: dict[str, str]) -> set[str]:
        told = one.call("GET", "/v1.0/devices", **who).json()
        assert told["totalRows"] == len(told["items"])
        return {each["uid"] for each in told["items"]}

    assert (seen(by_uid), seen(by_label), seen(everyone)) == ({UID}, {OTHER}, {UID, OTHER})
    for uid, who, status in (
        (UID, by_uid, 200),
        (OTHER, by_uid, 403),
        (UID, by_label, 403),
        (OTHER, by_label, 200),
    ):
        assert one.call("GET", f"/v1.0/devices/{uid}/settings/general-config", **who).status == status
    for uid, status in ((UID, 200), (OTHER, 403)):
        session = one.call("POST", "/v1.0/devices/initialization-session", {"uid": uid}, **by_uid)
        assert session.status == status
        assert one.call("POST", f"/v1.0/devices/{uid}/live/play-session", LIVE, **by_uid).status == status
    assert one.manage("PUT", "/labels", {"labels": {}})[0] == 200
    assert seen(by_label) == set()
    # A file is for every camera; a session of another camera is not found.
    assert one.call("POST", "/v1.0/firmware/a.pak", b"x", **everyone).status == 200
    limited = bearer(one.token("limited", "firmware", cameras={"uids": [UID]}))
    assert one.call("POST", "/v1.0/firmware/b.pak", b"x", **limited).status == 403
    session = one.call(
        "POST",
        f"/v1.0/devices/{OTHER}/upgrade-session",
        {"upgradeFile": "a.pak", "factoryReset": False},
        **everyone,
    ).json()["sessionId"]
    assert one.call("GET", f"/v1.0/devices/{OTHER}/upgrade-session/{session}", **limited).status == 403
    assert one.call("GET", f"/v1.0/devices/{UID}/upgrade-session/{session}", **limited).status == 404


def test_users_with_less_than_everything(
    gateway: Callable[..., Any], joined: Callable[..., Any], basic: Any
) -> None:
    one = gateway(access=[{"user": "guard", "verbs": ["read"], "cameras": {"uids": [OTHER]}}])
    joined(UID)
    guard = basic(user="guard")
    assert one.call("GET", f"/v1.0/devices/{UID}/settings/pir-config", **basic()).status == 200
    assert one.call("GET", f"/v1.0/devices/{UID}/settings/pir-config", **guard).status == 403
    assert one.call("GET", "/v1.0/devices", **guard).json()["totalRows"] == 0
    assert one.call("PUT", f"/v1.0/devices/{OTHER}/settings/alarm", {"enabled": True}, **guard).status == 403


def test_what_has_no_verb_is_for_nobody(gateway: Callable[..., Any], basic: Any) -> None:
    one = gateway()
    status, _ = one.manage("PUT", "/config", {"members": {"rop.signalCommands": [104]}})
    assert status == 200
    for method, target in (
        ("GET", f"/v1.0/devices/{UID}/signal?cmd=104"),
        ("POST", f"/v1.0/devices/{UID}/signal?cmd=104"),
        ("POST", "/v1.0/rtsp/describe"),
        ("POST", "/v1.0/rtsp/play"),
        ("GET", "/v1.0/rtsp/anything"),
    ):
        assert one.call(method, target, **basic()).status == 403, target


@pytest.mark.parametrize(
    "target",
    [
        "/v1.0/devices%2f",
        "/v1.0/%64evices",
        "//v1.0/devices",
        "/v1.0//devices",
        "/v1.0/./devices",
        "/v1.0/x/../devices",
        "/v1.0/devices/..",
        "/v1.0/devices/.",
        "/v1.0/devices\\x",
        "/v1.0/devices#x",
        "/v1.0/devices/%2e%2e/devices",
        "/v1.0/dévices",
    ],
)
def test_paths_that_can_be_read_in_two_ways_are_refused_first(gateway: Callable[..., Any], target: str) -> None:
    """Before anybody is asked who calls: without credentials the answer is not 401."""
    one = gateway()
    head = f"GET {target} HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n"
    assert one.raw(head.encode()).status == 400


def test_a_query_may_hold_what_a_path_may_not(gateway: Callable[..., Any], basic: Any) -> None:
    one = gateway()
    query = "record_date=2026-11-24&start_at=00%3A00%3A00&end_at=23%3A59%3A59&channel=0&stream_type=subStream"
    answer = one.call("GET", f"/v1.0/devices/{UID}/records?{query}//../", **basic())
    assert (answer.status, answer.symbol) == (400, "invalid_parameter")  # of rop-server: the stream type
    answer = one.call("GET", f"/v1.0/devices/{UID}/records?{query}", **basic())
    assert (answer.status, answer.symbol) == (404, "device_offline")


def test_no_header_of_a_client_is_believed(gateway: Callable[..., Any], bearer: Any) -> None:
    one = gateway()
    told = {"Rop-Pass": "x", "Rop-Caller": "user alice", "X-Forwarded-User": "alice", "Rop-Target": "/v1.0/x"}
    assert one.call("GET", "/v1.0/devices", **told).status == 401
    token = bearer(one.token("wall", "read", cameras={"uids": [UID]}))
    firmware = {"Rop-Method": "GET", "Rop-Target": "/v1.0/devices", **told, **token}
    assert one.call("POST", "/v1.0/firmware/a.pak", b"x", **firmware).status == 403
    # rop-server's own port asks nobody, and hears no pass either.
    assert one.site.call("GET", "/v1.0/devices")[0] == 200


def test_browsers(gateway: Callable[..., Any], basic: Any) -> None:
    ours, theirs = "https://wall.example.net", "https://evil.example.net"
    one = gateway(allowedOrigins=[ours])
    ask = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    preflight = one.call("OPTIONS", f"/v1.0/devices/{UID}/settings/alarm", Origin=ours, **ask)
    assert (preflight.status, preflight.body) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == ours
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    assert preflight.headers["access-control-max-age"] == "172800"
    refused = one.call("OPTIONS", "/v1.0/devices", Origin=theirs, **ask)
    assert refused.status == 403
    answers = [
        one.call("GET", "/v1.0/devices", Origin=each, **who) for each in (ours, theirs) for who in ({}, basic())
    ]
    assert [each.status for each in answers] == [401, 200, 401, 200]
    told = [each.headers.get("access-control-allow-origin") for each in answers]
    assert told == [ours, ours, None, None]
    for each in (preflight, refused, *answers):
        assert "access-control-allow-credentials" not in each.headers
        assert each.headers["vary"] == "Origin"
    assert (
        one.call("OPTIONS", "/v1.0/devices", Origin=ours).status == 401
    )  # no preflight, so nothing is given away


def test_every_answer_carries_what_browsers_need(gateway: Callable[..., Any], basic: Any) -> None:
    one = gateway()
    answers = [
        one.call("GET", "/v1.0/devices", **basic()),
        one.call("GET", "/v1.0/devices"),
        one.call("GET", "/x", **basic()),
        one.raw(b"GET /%2e HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n"),
    ]
    assert [each.status for each in answers] == [200, 401, 404, 400]
    for each in answers:
        assert each.headers["strict-transport-security"] == "max-age=63072000"
        assert each.headers["cache-control"] == "no-store"
        assert each.headers["x-content-type-options"] == "nosniff"
        assert each.headers["server"] in ("nginx", "rop-server")


def test_limits(gateway: Callable[..., Any], basic: Any, poll: Callable[..., Any]) -> None:
    one = gateway(limits={"requestsPerSecond": 1, "burst": 4, "firmwareMiB": 1, "checkInterval": "1s"})
    answers = [one.call("GET", "/v1.0/devices", **basic()) for _ in range(20)]
    refused = [each for each in answers if each.status != 200]
    assert refused
    assert {(each.status, each.symbol) for each in refused} == {(429, "frequent_request")}
    one.write(limits={"checkInterval": "1s", "requestsPerSecond": 1000, "burst": 1000, "firmwareMiB": 1})
    one.look()

    def freely() -> bool:
        return {one.call("GET", "/v1.0/devices", **basic()).status for _ in range(10)} == {200}

    poll("workers with the old limits accept nobody any more", freely)
    assert one.call("PUT", f"/v1.0/devices/{UID}/settings/alarm", b"x" * 70_000, **basic()).status == 400
    with contextlib.suppress(OSError):  # nginx may close before all is sent
        assert one.call("POST", "/v1.0/firmware/big.pak", b"x" * 2_000_000, **basic()).status == 400
    assert one.call("POST", "/v1.0/firmware/small.pak", b"x" * 900_000, **basic()).status == 200
    _, told = one.site.manage("GET", "/firmware")
    assert [each["name"] for each in told["items"]] == ["small.pak"]


def test_guessing_passwords_is_slow(gateway: Callable[..., Any], basic: Any) -> None:
    one = gateway()
    assert one.call("GET", "/v1.0/devices", **basic()).status == 200
    answers = [one.call("GET", "/v1.0/devices", **basic(password=str(number))) for number in range(30)]
    assert {each.status for each in answers} == {401, 429}
    assert answers[-1].symbol == "frequent_request"
    # Who is known already does not suffer.
    assert one.call("GET", "/v1.0/devices", **basic()).status == 200


def test_http_2_is_spoken(gateway: Callable[..., Any]) -> None:
    one = gateway()
    context = one.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with one.connect(context=context) as sock:
        assert sock.selected_alpn_protocol() == "h2"
        assert sock.version() == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        old = one.context()
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        one.connect(context=old)


def test_client_certificates(gateway: Callable[..., Any], client_pairs: Any) -> None:
    """Verified by their authority and listed by name; the cameras' own certificates open nothing."""
    access = [{"certificate": "wall", "verbs": ["read"], "cameras": {"uids": [UID]}}]
    one = gateway(clientCAFile=str(client_pairs.authority), access=access)
    one.client_pair = client_pairs("wall")
    assert one.call("GET", "/v1.0/devices").status == 200
    assert one.call("GET", f"/v1.0/devices/{OTHER}/states/battery").status == 403
    one.client_pair = client_pairs("stranger")
    answer = one.call("GET", "/v1.0/devices")
    assert (answer.status, answer.symbol) == (403, "auth_failed")
    one.client_pair = client_pairs("wall", trusted=False)
    assert one.call("GET", "/v1.0/devices").status == 400


def test_without_rop_server(gateway: Callable[..., Any], basic: Any, poll: Callable[..., Any]) -> None:
    """Nobody is let in while nobody can say who may; afterwards all is as before."""
    one = gateway()
    token = one.token("wall", "read")
    one.site.process.kill()
    answer = one.call("GET", "/v1.0/devices", **basic())
    assert (answer.status, answer.symbol) == (503, "server_internal_error")
    one.site.start()
    poll("it works again", lambda: one.call("GET", "/v1.0/devices", **basic()).status == 200)
    assert one.call("GET", "/v1.0/devices", Authorization=f"Bearer {token}").status == 200


def test_logs_hold_no_secret(
    gateway: Callable[..., Any], basic: Any, bearer: Any, poll: Callable[..., Any]
) -> None:
    one = gateway()
    token = one.token("wall", "read")
    one.call("GET", "/v1.0/devices?secret=canary-in-query", **bearer(token))
    one.call("GET", "/v1.0/devices", **basic(password="canary-in-password"))
    one.call("GET", "/v1.0/devices?canary-in-query", Referer="https://x/canary-in-referer")

    def lines() -> list[dict[str, Any]]:
        said = [json.loads(line) for line in one.process.log.read_text().splitlines()]
        return [each for each in said if each["action"] == "access"]

    poll("nginx has logged", lambda: len(lines()) == 3)
    assert [(each["caller"], each["path"], each["status"]) for each in lines()] == [
        ("token wall", "/v1.0/devices", 200),
        ("", "/v1.0/devices", 401),
        ("", "/v1.0/devices", 401),
    ]
    written = [
        one.process.log,
        one.site.process.log,
        *(each for each in (one.folder / "d").rglob("*") if each.is_file()),
    ]
    for path in written:
        raw = path.read_bytes()
        for secret in (token, basic()["Authorization"], "canary-in"):
            assert secret.encode() not in raw, (path, secret)
