"""The engine as a whole: what it does to servers and cameras, what it never does, and what survives a kill."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from rop_operator.api.facts import BackupFacts, Ref, SettingFact
from rop_operator.ports import PortError

UID = "95270001ABCDEFGH"
OTHER = "95270001ABCDEFGX"
LAN = {"attempt": 1, "lan": {"address": "192.0.2.44", "port": 9527}}


async def ready_server(world: Any, **spec: Any) -> None:
    world.server(**spec)
    world.start()
    await world.reaches(world.home, "Ready")


async def test_a_managed_server_is_started_taken_and_configured(world: Any) -> None:
    world.core.reachable = False
    await ready_server(world, heartBeatInterval="33s")
    ((_, ref, members, environment), *_) = world.runtime.calls
    assert ref == world.home
    assert members["heartBeatInterval"] == 33
    assert environment["ROP_HOSTNAME"] == "192.0.2.1"
    assert world.core.made("take_management") == [("take_management", "engine-1", False)]
    assert world.core.made("claim") == [("claim", "Documented", ())]
    world.server(heartBeatInterval="44s")
    await world.until(lambda: world.core.config.get("heartBeatInterval") == 44, "the change is applied")
    await world.reaches(world.home, "ConfigInSync")


async def test_claims_follow_the_documents(world: Any) -> None:
    await ready_server(world)
    door = world.camera()
    await world.until(lambda: world.core.claims[1] == {UID}, "claimed")
    world.camera("yard", OTHER, access="Denied")
    world.camera("hall", "95270001ABCDEFGZ")
    await world.until(lambda: world.core.claims[1] == {UID, "95270001ABCDEFGZ"}, "only allowed ones are claimed")
    world.store.delete(door)
    await world.until(lambda: world.core.claims[1] == {"95270001ABCDEFGZ"}, "not claimed any more")


async def test_settings_are_written_in_one_call(world: Any) -> None:
    world.core.enrolled(UID)
    door = world.camera(displayName="Front", settings={"pir": {"enabled": True, "sensitivity": 60}})
    await ready_server(world)
    await world.reaches(door, "SettingsInSync")
    writes = [call for call in world.core.made("settings") if call[2]]
    assert [call[2] for call in writes] == [{"displayName": "Front", "pir.enabled": True, "pir.sensitivity": 60}]


async def test_drift_is_repaired_or_reported_by_policy(world: Any) -> None:
    world.core.enrolled(UID)
    door = world.camera(displayName="Front")
    await ready_server(world)
    await world.reaches(door, "SettingsInSync")
    world.core.setting(UID, "displayName", "Mallory")
    await world.until(lambda: world.core.devices[UID].settings["displayName"].value == "Front", "repaired")
    world.camera(displayName="Front", policy={"default": "Report"})
    await world.quiet()
    written = len(world.core.made("settings"))
    world.core.setting(UID, "displayName", "Mallory")
    await world.reaches(door, "SettingsInSync", "False", "Drift")
    assert len(world.core.made("settings")) == written


async def test_a_sleeping_camera_is_never_read_and_woken_once_to_write(world: Any) -> None:
    gate = world.camera("gate", OTHER)
    world.core.enrolled(OTHER, "Asleep", family="battery")
    await ready_server(world)
    await world.reaches(gate, "Ready")
    await world.quiet()
    assert world.core.made("settings") == []
    world.camera(
        "gate", OTHER, displayName="Gate", settings={"pir": {"enabled": False}, "alarm": {"enabled": True}}
    )
    await world.reaches(gate, "SettingsInSync")
    await world.quiet()
    ((_, _, write, _, wake),) = world.core.made("settings")
    assert (len(write), wake) == (3, True)
    assert world.core.devices[OTHER].wakes == 1


async def test_a_camera_that_fell_asleep_meanwhile_is_not_woken_unplanned(world: Any) -> None:
    world.core.enrolled(UID, family="battery")
    door = world.camera()
    await ready_server(world)
    await world.reaches(door, "Ready")
    # The server knows that it sleeps, the event has not arrived yet.
    world.core.devices[UID] = world.core.devices[UID].model_copy(update={"state": "Asleep"})
    world.camera(displayName="Front")
    await world.until(lambda: world.core.made("settings"), "tried")
    assert world.core.made("settings")[0][4] is False
    world.core.tell("device.asleep", UID)
    await world.reaches(door, "SettingsInSync")
    assert [call[4] for call in world.core.made("settings")] == [False, True]


@pytest.mark.parametrize("refusal", ["refused", "altered"])
async def test_a_value_the_camera_does_not_take_is_not_written_over_and_over(world: Any, refusal: str) -> None:
    world.core.enrolled(UID)
    if refusal == "refused":
        world.core.settings_error = "CmdExecError"
    else:
        world.core.altered = {"displayName": "FRONT"}
    door = world.camera(displayName="Front")
    await ready_server(world)
    await world.reaches(door, "SettingsInSync", "False", "CmdExecError" if refusal == "refused" else "NotKept")
    for _ in range(3):
        world.look(door)
        await world.quiet()
    assert len([call for call in world.core.made("settings") if call[2]]) == 1


async def test_suspended_means_no_writes_but_observation(world: Any) -> None:
    world.core.enrolled(UID)
    door = world.camera(displayName="Front", suspend=True)
    await ready_server(world)
    await world.reaches(door, "SettingsInSync", "False", "Suspended")
    world.core.device(UID, "Offline")
    await world.reaches(door, "Online", "False", "DeviceOffline")
    assert [call for call in world.core.made("settings") if call[2]] == []


async def test_settings_of_powered_cameras_are_read_again_in_time(world: Any) -> None:
    world.core.enrolled(UID)
    door = world.camera(displayName="Front")
    await ready_server(world, settingsResync="5m")
    await world.reaches(door, "SettingsInSync")
    await world.quiet()
    reads = len(world.core.made("settings"))
    device = world.core.devices[UID]
    world.core.devices[UID] = device.model_copy(update={"settings": {"displayName": SettingFact(value="Mallory")}})
    world.clock.ahead += timedelta(minutes=6)
    world.look(door)
    await world.until(lambda: len(world.core.made("settings")) >= reads + 2, "read, then repaired")
    assert world.core.devices[UID].settings["displayName"].value == "Front"


async def test_a_whole_fleet_is_read_no_faster_than_is_said(world: Any) -> None:
    report = {"default": "Report"}
    for n in range(8):
        uid = f"95270001ABCDE{n:03d}"
        world.core.enrolled(uid)
        world.camera(f"cam-{n}", uid, displayName="unset", policy=report)
    asleep = "95270001SLEEPER0"
    world.core.enrolled(asleep)
    world.core.device(asleep, "Asleep")
    world.camera("sleeper", asleep, displayName="unset", policy=report)
    began = world.clock.monotonic()
    await ready_server(world, settingsReadsPerSecond=4)
    await world.until(lambda: len({call[1] for call in world.core.made("settings")}) == 8)
    assert world.clock.monotonic() - began >= (8 - 4) / 4, "four at once, then four a second"
    assert asleep not in {call[1] for call in world.core.made("settings")}


async def test_beside_a_server_whose_clock_is_behind_settings_are_read_once(world: Any) -> None:
    world.core.enrolled(UID, "Online", family="ipc", settings={"displayName": SettingFact(value="Front")})
    ref = world.camera("front-door", UID, displayName="Front")
    await ready_server(world)
    await world.reaches(ref, "SettingsInSync")
    world.clock.ahead += timedelta(minutes=11)
    before = len(world.core.made("settings"))
    world.look(ref)
    await world.until(lambda: len(world.core.made("settings")) > before, "old values are read again")
    await world.quiet()
    assert len(world.core.made("settings")) == before + 1


async def test_one_change_touches_one_camera_and_idling_writes_nothing(world: Any) -> None:
    uids = [f"95270001ABCDE{n:03d}" for n in range(40)]
    for uid in uids:
        world.core.enrolled(uid)
    refs = [world.camera(f"cam-{n}", uid) for n, uid in enumerate(uids)]
    await ready_server(world)
    for ref in refs:
        await world.reaches(ref, "Ready")
    await world.quiet()
    assert world.core.lists == 1
    written = len(world.store.statuses)
    world.core.device(uids[7], "Offline")
    await world.reaches(refs[7], "Online", "False")
    await world.quiet()
    assert {ref for ref, _ in world.store.statuses[written:]} == {refs[7], world.home}
    written, called = len(world.store.statuses), len(world.core.calls)
    for ref in (world.home, *refs):
        world.look(ref)
    await world.quiet()
    assert len(world.store.statuses) == written
    assert len(world.core.calls) == called
    world.core.gap()
    await world.until(lambda: world.core.lists == 2, "listed again after a gap")
    await world.quiet()
    assert len(world.store.statuses) == written


async def test_a_restarted_engine_writes_nothing_new(world: Any) -> None:
    world.core.enrolled(UID)
    door = world.camera(displayName="Front")
    await ready_server(world)
    await world.reaches(door, "Ready")
    await world.quiet()
    await world.kill()
    written = len(world.store.statuses)
    calls = len(world.core.calls)
    world.start()
    await world.until(lambda: world.core.lists == 2, "observed again")
    await world.quiet()
    assert world.store.statuses[written:] == []
    assert [call[0] for call in world.core.calls[calls:]] == ["take_management"]


async def test_an_unreachable_server_makes_cameras_unknown_and_comes_back(world: Any) -> None:
    world.core.enrolled(UID)
    door = world.camera()
    await ready_server(world)
    await world.reaches(door, "Ready")
    world.runtime.state = "Starting"
    world.core.reachable = False
    world.core.gap()
    await world.reaches(world.home, "Serving", "False")
    await world.reaches(door, "Online", "Unknown", "ServerNotReady")
    world.runtime.state = "Running"
    await world.reaches(door, "Ready")
    assert world.lan.handed == []


async def test_a_server_that_does_not_start_says_why(world: Any) -> None:
    world.core.reachable = False
    world.runtime.state, world.runtime.message = "Failed", "port 61005 is in use"
    world.server()
    world.start()
    await world.reaches(world.home, "Serving", "False", "RuntimeFailed")
    assert world.condition(world.home, "Ready")["message"] == "port 61005 is in use"


async def test_deleting_denies_first_and_lets_go_then(world: Any) -> None:
    world.core.enrolled(UID)
    door = world.camera()
    await ready_server(world)
    await world.reaches(door, "Ready")
    world.store.delete(door)
    await world.until(lambda: door not in world.store.documents, "gone")
    assert world.core.devices[UID].access == "Denied"


async def test_deleting_waits_for_a_server_that_is_away(world: Any) -> None:
    world.core.enrolled(UID)
    door = world.camera()
    await ready_server(world)
    await world.reaches(door, "Ready")
    world.runtime.state = "Starting"
    world.core.reachable = False
    world.core.gap()
    await world.reaches(world.home, "Serving", "False")
    world.store.delete(door)
    await world.reaches(door, "Ready", "False", "RevocationPending")
    world.runtime.state = "Running"
    await world.until(lambda: door not in world.store.documents, "gone")
    assert world.core.devices[UID].access == "Denied"


async def test_a_deleted_server_lets_its_cameras_go(world: Any) -> None:
    world.core.enrolled(UID)
    door = world.camera()
    await ready_server(world)
    await world.reaches(door, "Ready")
    world.store.delete(world.home)
    await world.reaches(door, "Ready", "False", "ServerNotFound")
    assert ("stop", world.home) in world.runtime.calls
    world.store.delete(door)
    await world.until(lambda: door not in world.store.documents, "gone")
    assert world.core.made("set_access") == []


async def test_documents_in_any_order(world: Any) -> None:
    world.core.enrolled(UID)
    door = world.camera()
    world.start()
    await world.reaches(door, "Accepted", "False", "ServerNotFound")
    world.server()
    await world.reaches(door, "Ready")


async def test_the_oldest_claim_of_a_uid_acts_and_is_succeeded(world: Any) -> None:
    world.core.enrolled(UID)
    first = world.camera("first", displayName="First")
    second = world.camera("second", displayName="Second")
    await ready_server(world)
    await world.reaches(first, "Ready")
    await world.reaches(second, "Stalled", "True", "DuplicateUID")
    await world.quiet()
    assert world.core.devices[UID].settings["displayName"].value == "First"
    world.store.delete(first)
    await world.reaches(second, "Ready")
    assert world.core.made("set_access") == [], "the device is taken over, not revoked"


async def test_a_denied_camera_is_cut_off_and_allowed_again(world: Any) -> None:
    world.core.enrolled(UID)
    door = world.camera()
    await ready_server(world)
    await world.reaches(door, "Ready")
    world.camera(access="Denied")
    await world.until(lambda: world.core.devices[UID].access == "Denied", "denied")
    world.camera(access="Allowed")
    await world.until(lambda: world.core.devices[UID].access == "Allowed", "allowed")


async def test_a_server_of_another_manager_is_left_alone(world: Any) -> None:
    world.core.manager, world.core.fence = "somebody", 7
    world.core.enrolled(UID)
    door = world.camera(displayName="Front", provision=LAN)
    world.server()
    world.start()
    await world.reaches(world.home, "Stalled", "True", "ManagedElsewhere")
    await world.quiet()
    assert world.core.calls == []
    world.server(acknowledge=[{"edge": "TakeOver", "value": "somebody"}])
    await world.reaches(door, "Ready")
    assert world.core.made("take_management") == [("take_management", "engine-1", True)]


async def test_an_engine_that_was_fenced_takes_management_again_in_its_own_name(world: Any) -> None:
    world.core.enrolled(UID)
    door = world.camera()
    await ready_server(world)
    await world.reaches(door, "Ready")
    world.core.fence += 1
    world.camera(displayName="Front")
    await world.until(lambda: world.core.devices[UID].settings, "written")
    assert len(world.core.made("take_management")) == 2


async def test_an_external_server_is_reached_with_its_secrets(world: Any) -> None:
    world.runtime = None
    external = {
        "url": "https://rop.example.net:7443",
        "caRef": {"name": "rop", "key": "ca"},
        "tokenRef": {"name": "rop", "key": "token"},
    }
    world.server(external=external)
    world.start()
    await world.reaches(world.home, "Accepted", "False", "SecretNotFound")
    assert world.connected == []
    world.secrets.values = {"rop.ca": b"PEM\n", "rop.token": b"rop_secret\n"}
    world.store.changed(world.home)
    await world.reaches(world.home, "Ready")
    (endpoint,) = world.connected
    assert (endpoint.url, endpoint.ca_pem, endpoint.token) == (external["url"], b"PEM", "rop_secret")
    world.secrets.values["rop.token"] = b"rop_other"
    world.store.changed(world.home)
    await world.until(lambda: len(world.connected) == 2, "connected with the new token")
    assert "rop_secret" not in str(world.store.statuses) + str(world.store.events)


async def test_without_a_runtime_a_server_has_to_be_external(world: Any) -> None:
    world.runtime = None
    world.server()
    world.start()
    await world.reaches(world.home, "Stalled", "True", "ExternalRequired")


async def test_a_server_known_by_its_client_api_says_what_is_missing(world: Any) -> None:
    world.runtime = None
    world.core.interface = "ClientAPI"
    world.core.device(UID)
    door = world.camera(provision=LAN)
    world.server(external={"url": "http://192.0.2.9:61009", "interface": "ClientAPI"})
    world.start()
    await world.reaches(door, "Ready")
    await world.reaches(world.home, "FullyObserved", "False", "PollingOnly")
    assert world.core.calls == []
    world.camera(access="Denied")
    await world.reaches(door, "Stalled", "True", "NotSupported")


async def test_slow_cameras_do_not_hold_up_the_others(world: Any) -> None:
    world.core.calls_held = asyncio.Event()
    uids = [f"95270001ABCDE{n:03d}" for n in range(12)]
    for n, uid in enumerate(uids):
        world.core.enrolled(uid)
        world.camera(f"slow-{n}", uid, displayName="Slow")
    await ready_server(world)
    await world.until(lambda: len(world.core.made("settings")) >= 5, "calls hang")
    world.core.enrolled(UID)
    fast = world.camera()
    await world.reaches(fast, "Ready")
    assert len(world.core.made("settings")) == 5
    world.core.calls_held.set()
    for n in range(12):
        await world.reaches(Ref("Camera", "video", f"slow-{n}"), "SettingsInSync")


async def test_a_failing_store_is_retried_and_ends_nothing(world: Any) -> None:
    failures = 2

    def fail(ref: Ref, status: Any) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise PortError("Unreachable", "the API server is away")

    world.store.fail_put = fail
    await ready_server(world)
    assert failures == 0


async def test_a_session_for_a_hand_over_from_elsewhere(world: Any) -> None:
    world.server()
    world.start()
    with pytest.raises(PortError) as early:
        await world.engine.session(Ref("RopServer", "video", "other"), UID)
    assert early.value.reason == "ServerNotReady"
    await world.reaches(world.home, "Ready")
    assert (await world.engine.session(world.home, UID)).document["uid"] == UID


POLICY = {
    "recipients": [{"name": "a", "key": "age1qqqqqqqqqqqq"}, {"name": "b", "key": "age1zzzzzzzzzzzz"}],
    "targets": [
        {
            "name": "offsite",
            "s3": {"endpoint": "https://s3.example.net", "bucket": "rop", "credentialsRef": {"name": "s3"}},
        }
    ],
}


async def test_a_backup_policy_is_set_with_its_credentials_and_again_when_they_change(world: Any) -> None:
    world.core.backup = BackupFacts()
    world.secrets.values = {"s3.accessKey": b"adder\n", "s3.secretKey": b"first"}
    world.server(backup=POLICY)
    world.start()
    await world.reaches(world.home, "Ready", "False", "BackupMissing")
    (call,) = world.core.made("apply_backup")
    assert call[1]["targets"][0]["s3"]["credentials"] == {"accessKey": "adder", "secretKey": "first"}
    world.core.backup = BackupFacts(covered=True, generation=1)
    world.core.tell("backup.stored")
    await world.reaches(world.home, "Ready")
    await world.quiet()
    assert len(world.core.made("apply_backup")) == 1
    world.secrets.values["s3.secretKey"] = b"second"
    world.look(world.home)
    await world.until(lambda: len(world.core.made("apply_backup")) == 2, "set again")
    everything = json.dumps([dict(status) for _, status in world.store.statuses]) + str(world.store.events)
    assert not any(word in everything for word in ("adder", "first", "second"))
