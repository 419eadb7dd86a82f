"""The engine's clients of a core server against a real one, with real virtual cameras."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rop_operator.adapters.fleet import HttpFleet
from rop_operator.adapters.lan import NetworkLan
from rop_operator.api.facts import DeviceFacts, FleetEvent
from rop_operator.ports import Endpoint, PortError, Server

UID = "FLEET0WIRED00001"
SLEEPER = "FLEET0BATTERY001"
BIN = Path(sys.executable).parent
HOOK = "https://hook.example/very-secret-path"


def management(site: Any) -> Server:
    url = f"unix://{site.data}/run/manage.sock"
    return HttpFleet().connect(Endpoint(url, "Management"))


def client_api(site: Any) -> Server:
    url = f"http://127.0.0.1:{site.ports['clientHttp']}"
    return HttpFleet(allow_loopback=True, poll_seconds=0.1).connect(Endpoint(url, "ClientAPI"))


@contextlib.asynccontextmanager
async def managed(site: Any, manager: str = "contract") -> AsyncIterator[Server]:
    server = management(site)
    await server.take_management(manager, True)
    try:
        yield server
    finally:
        await server.close()


async def facts_of(server: Server, uid: str) -> DeviceFacts | None:
    return next((d for d in await server.devices() if d.uid == uid), None)


async def until(server: Server, uid: str, state: str) -> DeviceFacts:
    """The device once it is in this state."""
    async with asyncio.timeout(60):
        while (found := await facts_of(server, uid)) is None or found.state != state:
            await asyncio.sleep(0.05)
    return found


async def test_the_server_tells_who_it_is(site: Any) -> None:
    server = management(site)
    facts = await server.observe({})
    assert (facts.reachable, facts.ready, facts.interface) == (True, True, "Management")
    assert facts.host == "127.0.0.1"
    assert facts.ports["signalingTLS"] == site.ports["signalingTLS"]
    assert facts.instance_id
    assert facts.root_sha256
    assert facts.server_certificate_not_after is not None
    assert facts.server_certificate_not_after.tzinfo is not None
    assert {"settings", "claims", "events", "config"} <= set(facts.features)
    assert facts.fence is None, "management was not taken by this client"
    await server.close()


async def test_a_server_that_is_not_there_is_a_fact(site: Any) -> None:
    server = management(site)
    site.process.stop()
    facts = await server.observe({"heartBeatInterval": 20})
    assert (facts.reachable, facts.error_reason) == (False, "Unreachable")
    assert "manage.sock" in (facts.error or "")
    with pytest.raises(PortError) as unreachable:
        await server.devices()
    assert unreachable.value.reason == "Unreachable"
    site.start()
    assert (await server.observe({})).reachable, "the same client finds it again"
    await server.close()


async def test_configuration_is_compared_and_written_secrets_included(site: Any) -> None:
    async with managed(site) as server:
        wanted = {
            "heartBeatInterval": 33,
            "alarm.notificationURL": HOOK,
            "ports.signalingTLS": site.ports["signalingTLS"],
        }
        facts = await server.observe(wanted)
        assert facts.config_differs == ("alarm.notificationURL", "heartBeatInterval")
        result = await server.apply_config(wanted)
        assert set(result["applied"]) == {"alarm.notificationURL", "heartBeatInterval"}
        assert result["unchanged"] == ["ports.signalingTLS"]
        after = await server.observe(wanted)
        assert after.config_differs == ()
        assert HOOK not in repr(after)
        with pytest.raises(PortError) as refused:
            await server.apply_config({"heartBeatInterval": "often"})
        assert refused.value.reason == "InvalidConfig"
        assert "heartBeatInterval" in refused.value.message
        config = site.data / "config.json"
        config.write_text(config.read_text().replace("33", "34"))
        async with asyncio.timeout(20):
            while not (facts := await server.observe(wanted)).config_file_changed:
                await asyncio.sleep(0.05)


async def test_only_the_newest_manager_writes(site: Any) -> None:
    async with managed(site, "one") as first:
        async with managed(site, "one") as second:
            with pytest.raises(PortError) as fenced:
                await first.claim("Open", ())
            assert fenced.value.reason == "Fenced"
            await second.claim("Open", ())
            assert (await first.observe({})).fence is None
            assert (await second.observe({})).fence is not None
        other = management(site)
        with pytest.raises(PortError) as elsewhere:
            await other.take_management("two", False)
        assert elsewhere.value.reason == "ManagedElsewhere"
        with pytest.raises(PortError):
            await other.claim("Open", ())
        await other.take_management("two", True)
        await other.close()


async def test_only_claimed_uids_get_a_session(site: Any) -> None:
    async with managed(site) as server:
        await server.claim("Documented", ())
        with pytest.raises(PortError) as refused:
            await server.initialization_session(UID)
        assert refused.value.reason == "AuthFailed"
        await server.claim("Documented", (UID,))
        session = await server.initialization_session(UID)
        assert session.document["host"] == "127.0.0.1"
        assert "expiresAt" not in session.document
        assert session.document["code"] not in repr(session)


async def test_a_hand_over_is_seen_as_events(site: Any, add_camera: Callable[..., Any]) -> None:
    camera = add_camera(UID)
    async with managed(site) as server:
        assert await facts_of(server, UID) is None
        seen: list[FleetEvent] = []

        async def follow() -> None:
            async for event in server.events():
                assert event is not None
                seen.append(event)
                if event.device is not None and event.device.state == "Online":
                    return

        following = asyncio.create_task(follow())
        where = camera.ready["setup"]
        lan = NetworkLan(("127.0.0.0/8",), allow_loopback=True)
        session = await server.initialization_session(UID)
        assert await lan.hand_over(where["address"], where["port"], session) is None
        await asyncio.wait_for(following, 30)
        types = [event.type for event in seen if event.uid == UID]
        assert types.index("device.certificate") < types.index("device.registered") < types.index("device.online")
        device = seen[-1].device
        assert device is not None
        assert device.certificate is not None
        assert device.pinned_root is not None
        assert device.pinned_root.sha256 == (await server.observe({})).root_sha256
        assert device == await facts_of(server, UID)


async def test_settings_are_written_and_read_in_one_call(site: Any, joined: Callable[..., Any]) -> None:
    camera = joined(UID)
    async with managed(site) as server:
        write = {"displayName": "Front door", "pir.sensitivity": 61}
        result = await server.settings(UID, write, ("displayName", "pir.enabled", "alarm.enabled"), False)
        assert set(result.written) == set(write)
        assert result.values["displayName"] == "Front door"
        assert isinstance(result.values["alarm.enabled"], bool)
        assert result.errors == {}
        assert camera.settings()["deviceName"] == "Front door"
        facts = await facts_of(server, UID)
        assert facts is not None
        assert facts.settings["pir.sensitivity"].value == 61
        with pytest.raises(PortError) as refused:
            await server.settings(UID, {"pir.sensitivity": 1000}, (), False)
        assert refused.value.reason == "InvalidParameter"
        with pytest.raises(PortError) as offline:
            await server.settings("FLEET0NOBODY0001", {}, ("displayName",), False)
        assert offline.value.reason == "DeviceOffline"


async def test_a_sleeping_camera_is_woken_only_when_it_may_be(site: Any, joined: Callable[..., Any]) -> None:
    site.restart(timeout__signalingConnectionIdle=1000)
    camera = joined(SLEEPER, "--battery")
    async with managed(site) as server:
        await until(server, SLEEPER, "Asleep")
        with pytest.raises(PortError) as asleep:
            await server.settings(SLEEPER, {"displayName": "Gate"}, ("displayName",), False)
        assert asleep.value.reason == "DeviceAsleep"
        assert camera.events("woken") == []
        result = await server.settings(
            SLEEPER, {"displayName": "Gate", "pir.enabled": False}, ("displayName",), True
        )
        assert result.woke
        assert result.values["displayName"] == "Gate"
        assert len(camera.events("woken")) == 1
        device = await until(server, SLEEPER, "Asleep")
        assert (device.wakes, device.on_battery) == (1, True)


async def test_a_denied_device_is_cut_off_at_once(site: Any, joined: Callable[..., Any]) -> None:
    joined(UID)
    async with managed(site) as server:
        await until(server, UID, "Online")
        denied = await server.set_access(UID, "Denied")
        assert denied.access == "Denied"
        found = await facts_of(server, UID)
        assert found is not None
        assert found.state == "Offline"
        assert (await server.set_access(UID, "Allowed")).access == "Allowed"
        await until(server, UID, "Online")


async def test_a_restarted_server_asks_to_list_again(site: Any) -> None:
    server = management(site)
    await server.devices()
    stream = server.events()
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    site.restart()
    with contextlib.suppress(PortError):
        assert await asyncio.wait_for(waiting, 70) is None
    await server.devices()
    await server.close()


async def test_over_tls_with_a_token(site: Any) -> None:
    create = [f"{BIN}/rop-server", "token", "create", "--data", str(site.data), "--scope", "Admin"]
    (port,) = _free_port()
    site.restart(rop__management__listen=f"127.0.0.1:{port}")
    token = subprocess.run(create, capture_output=True, text=True, check=True).stdout.strip()
    authority = (site.data / "manage" / "ca.pem").read_bytes()
    fleet = HttpFleet(allow_loopback=True)

    async def observe(endpoint: Endpoint) -> Any:
        server = fleet.connect(endpoint)
        try:
            return await server.observe({})
        finally:
            await server.close()

    url = f"https://127.0.0.1:{port}"
    good = Endpoint(url, "Management", authority, token)
    assert token not in repr(good)
    assert (await observe(good)).reachable
    wrong_token = await observe(Endpoint(url, "Management", authority, "rop_" + "x" * 43))
    assert (wrong_token.reachable, wrong_token.error_reason) == (False, "Unauthorized")
    wrong_ca = await observe(Endpoint(url, "Management", None, token))
    assert wrong_ca.error_reason == "Unreachable"
    assert "TLS" in (wrong_ca.error or "")


def _free_port() -> tuple[int]:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return (sock.getsockname()[1],)


async def test_the_client_api_is_polled(site: Any, joined: Callable[..., Any]) -> None:
    server = client_api(site)
    facts = await server.observe({"heartBeatInterval": 1})
    assert (facts.reachable, facts.interface, facts.config_differs) == (True, "ClientAPI", ())
    camera = joined(UID)
    assert (await until(server, UID, "Online")).settings == {}
    result = await server.settings(UID, {"displayName": "Door", "pir.sensitivity": 7}, ("alarm.enabled",), False)
    assert set(result.written) == {"displayName", "pir.sensitivity"}
    assert set(result.values) == {
        "displayName",
        "pir.enabled",
        "pir.sensitivity",
        "pir.reduceMistakes",
        "alarm.enabled",
    }
    assert camera.settings()["deviceName"] == "Door"
    known = await facts_of(server, UID)
    assert known is not None
    assert known.settings["displayName"].value == "Door"
    session = await server.initialization_session("FLEET0NOBODY0001")
    assert session.document["uid"] == "FLEET0NOBODY0001"
    for call in (server.claim("Open", ()), server.set_access(UID, "Denied"), server.apply_config({})):
        with pytest.raises(PortError) as refused:
            await call
        assert refused.value.reason == "NotSupported"
    camera.process.stop()
    await until(server, UID, "Offline")
    with pytest.raises(PortError) as offline:
        await server.settings(UID, {}, ("displayName",), False)
    assert offline.value.reason == "DeviceOffline"
    await server.close()


async def test_the_client_api_never_reads_a_battery_camera(site: Any, joined: Callable[..., Any]) -> None:
    camera = joined(SLEEPER, "--battery")
    server = client_api(site)
    found = await until(server, SLEEPER, "Asleep")
    assert found.battery is not None
    with pytest.raises(PortError) as asleep:
        await server.settings(SLEEPER, {}, ("displayName",), False)
    assert asleep.value.reason == "DeviceAsleep"
    assert camera.events("woken") == []
    await server.close()


async def test_addresses_that_may_not_be_dialled_are_not(site: Any) -> None:
    url = f"http://127.0.0.1:{site.ports['clientHttp']}"
    for literal in (url, "https://169.254.169.254/", "https://[::1]:1/"):
        with pytest.raises(PortError) as refused:
            HttpFleet().connect(Endpoint(literal, "ClientAPI"))
        assert refused.value.reason == "EgressRefused"
    named = HttpFleet().connect(Endpoint(url.replace("127.0.0.1", "localhost"), "ClientAPI"))
    facts = await named.observe({})
    assert not facts.reachable
    assert "may not be dialled" in (facts.error or "")
    await named.close()
    with pytest.raises(PortError):
        HttpFleet(allow_unix=False).connect(Endpoint("unix:///run/x.sock", "Management"))
    with pytest.raises(PortError) as clear:
        HttpFleet(allow_loopback=True).connect(Endpoint(url, "Management", None, "rop_token"))
    assert "rop_token" not in clear.value.message
