"""Decisions and status of one server."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rop_operator.api.parse import server_spec
from rop_operator.domain.config_map import TABLE, desired_members, first_start, shown
from rop_operator.domain.describe import describe
from rop_operator.domain.plan import (
    ApplyConfig,
    Done,
    EnsureRuntime,
    Failed,
    ReplaceClaims,
    RestartRuntime,
    StopRuntime,
    TakeManagement,
)
from rop_operator.domain.server_status import claimed_uids
from rop_operator.domain.snapshot import SecretProblem, secret_uses
from rop_operator.domain.status import server_facts_of

URL = "https://hooks.example.net/secret-path"
SINKS = {"sinks": [{"name": "ops", "urlRef": {"name": "alarm", "key": "url"}}]}


def settle(site: Any) -> None:
    """Carry the claims out."""
    site.status([(a, Done()) for a in site.plan.actions if isinstance(a, ReplaceClaims)])


def test_a_settled_server_needs_nothing(site: Any, a_camera: Any) -> None:
    site.cameras = [a_camera()]
    assert site.plan.actions == (ReplaceClaims("Documented", ("952700010000ABCD",)),)
    settle(site)
    assert site.plan.actions == ()
    first = site.status()
    site.now += timedelta(hours=1)
    site.facts = site.facts.model_copy(update={"fence": 7})
    assert site.status() == first
    assert site.condition("Ready") == ("True", "Ready")
    assert first["cameras"]["summary"] == "0/1"
    assert claimed_uids(site.snapshot) == {"952700010000ABCD"}
    assert describe(ReplaceClaims("Documented", ("x",))) == "let 1 documented UID enrol"


def test_claims_follow_the_cameras(site: Any, a_camera: Any) -> None:
    site.cameras = [a_camera("a"), a_camera("b", uid="B" * 16), a_camera("c", uid="C" * 16, access="Denied")]
    site.cameras.append(replace(a_camera("d", uid="D" * 16), deleting=site.now))
    site.cameras.append(a_camera("e", uid="bad"))
    (action,) = site.plan.actions
    assert action.uids == ("952700010000ABCD", "B" * 16)
    settle(site)
    assert site.plan.actions == ()
    site.cameras.append(a_camera("f", uid="F" * 16))
    assert claimed_uids(site.snapshot) == frozenset()
    assert [type(a) for a in site.plan.actions] == [ReplaceClaims]


def test_another_instance_gets_the_claims_again(site: Any, some_facts: Any) -> None:
    settle(site)
    site.facts = some_facts(instanceID="i-2")
    assert [type(a) for a in site.plan.actions] == [ReplaceClaims]


@pytest.mark.parametrize(
    ("adopted", "asked", "policy"), [(True, None, "Open"), (True, "Documented", "Documented")]
)
def test_enrolment_of_adopted_servers(site: Any, some_facts: Any, adopted: bool, asked: str, policy: str) -> None:
    site.facts = some_facts(adopted=adopted)
    if asked:
        site.spec(enrolment={"policy": asked})
    assert site.plan.actions[0].policy == policy


def test_a_managed_server_is_started(site: Any) -> None:
    site.facts = None
    site.spec(ports={"clientRtsp": 7000}, alarms=SINKS)
    site.secrets = {"spec.alarms.sinks[0].urlRef": URL}
    (action,) = site.plan.actions
    assert isinstance(action, EnsureRuntime)
    assert action.environment == {
        "ROP_HOSTNAME": "rop.example.net",
        "RTSP_PLAY_URL_PREFIX": "rtsp://rop.example.net:7000",
    }
    assert action.members["ports.clientRtsp"] == 7000
    assert URL not in repr(action)
    assert URL not in describe(action)
    assert site.condition("Serving") == ("Unknown", "Observing")


def test_a_server_that_fails_to_start(site: Any, some_facts: Any) -> None:
    site.facts = some_facts(
        reachable=False, runtime="Failed", runtimeMessage="port 61005 (signalingTLS) is in use"
    )
    assert [type(a) for a in site.plan.actions] == [EnsureRuntime]
    assert site.condition("Serving") == ("False", "RuntimeFailed")
    assert site.condition("Ready") == ("False", "RuntimeFailed")
    assert "61005" in site.status()["conditions"][1]["message"]


def test_without_a_runtime_external_is_required(site: Any) -> None:
    site.has_runtime = False
    assert site.plan.actions == ()
    assert site.condition("Stalled") == ("True", "ExternalRequired")


def test_management_is_taken(site: Any, some_facts: Any) -> None:
    settle(site)
    site.facts = some_facts(fence=None)
    assert site.plan.actions == (TakeManagement(False),)
    site.facts = some_facts(fence=None, managerId="someone")
    assert site.plan.actions == ()
    assert site.condition("Stalled") == ("True", "ManagedElsewhere")
    site.spec(acknowledge=[{"edge": "TakeOver", "value": "someone"}])
    assert site.plan.actions == (TakeManagement(True),)
    site.spec(acknowledge=[{"edge": "TakeOver", "value": "another"}])
    assert site.plan.actions == ()


def test_config_is_written_live(site: Any, some_facts: Any) -> None:
    settle(site)
    site.spec(enrolment={"codeExpiry": "90s"})
    site.facts = some_facts(configDiffers=("authCode.expiredIn",))
    (action,) = site.plan.actions
    assert action == ApplyConfig({"authCode.expiredIn": 90}, {"authCode.expiredIn": "90"})
    assert describe(action) == "set authCode.expiredIn = 90 (live)"
    assert site.condition("ConfigInSync") == ("False", "Applying")
    failed = Failed("InvalidConfig", "authCode.expiredIn: too large")
    assert site.condition("ConfigInSync", [(action, failed)]) == ("False", "InvalidConfig")


def test_ports_and_host_need_acknowledgement_and_a_restart(site: Any, some_facts: Any) -> None:
    settle(site)
    site.spec(host="new.example.net", ports={"signalingTLS": 61015})
    site.facts = some_facts(configDiffers=("serverHost", "ports.signalingTLS"))
    assert site.plan.actions == ()
    assert [f.reason for f in site.plan.findings] == ["AcknowledgementMissing"] * 2
    assert "{edge: PortChange, value: signalingTLS:61015}" in site.plan.findings[1].message
    assert site.condition("Stalled") == ("True", "AcknowledgementMissing")
    site.spec(acknowledge=[{"edge": "PortChange", "value": "signalingTLS:61015"}])
    assert [type(a) for a in site.plan.actions] == [ApplyConfig, RestartRuntime]
    site.spec(acknowledge=[{"edge": "HostChange", "value": "new.example.net"}])
    assert site.plan.actions[0].members == {"serverHost": "new.example.net"}
    assert site.plan.actions[1] == RestartRuntime(("serverHost",))


def test_a_pending_restart(site: Any, some_facts: Any) -> None:
    settle(site)
    site.facts = some_facts(pendingRestart=("ports.clientHttp",))
    assert site.plan.actions == (RestartRuntime(("ports.clientHttp",)),)
    site.spec(external={"url": "unix:///run/manage.sock"})
    assert site.plan.actions == ()
    assert [f.reason for f in site.plan.findings] == ["RestartNeeded"]
    assert site.condition("ConfigInSync") == ("False", "RestartNeeded")
    assert site.condition("Ready") == ("True", "Ready")


def test_a_hand_edited_file(site: Any, some_facts: Any) -> None:
    settle(site)
    site.spec(enrolment={"codeExpiry": "60s"})
    site.facts = some_facts(configFileChanged=True, configDiffers=("authCode.expiredIn",))
    (action,) = site.plan.actions
    assert set(action.members) == {"serverHost", "authCode.expiredIn"}
    assert [f.reason for f in site.plan.findings] == ["ConfigDrift"]
    site.spec(configPolicy="Report")
    assert site.plan.actions == ()
    assert site.condition("ConfigInSync") == ("False", "ConfigDrift")
    assert site.condition("Ready") == ("True", "Ready")
    site.spec(suspend=True, configPolicy="Enforce")
    assert site.plan.actions == ()
    assert site.condition("ConfigInSync") == ("False", "Suspended")


def test_a_missing_secret(site: Any) -> None:
    settle(site)
    site.spec(alarms=SINKS)
    (use,) = secret_uses(site.snapshot.spec)
    site.secrets = {use.field: SecretProblem("SecretNotFound", "there is no secret alarm")}
    assert site.plan.actions == ()
    assert site.condition("Accepted") == ("False", "SecretNotFound")
    assert "alarm.enabled" not in desired_members(site.snapshot.spec, site.snapshot.secrets)


def test_a_missing_token_stops_everything(site: Any) -> None:
    site.spec(external={"url": "https://rop.example.net:61020", "tokenRef": {"name": "t", "key": "token"}})
    site.secrets = {"spec.external.tokenRef": SecretProblem("SecretNotReferable", "label missing")}
    site.facts = None
    assert site.plan.actions == ()
    assert [f.reason for f in site.plan.findings] == ["SecretNotReferable"]


def test_a_polled_server(site: Any, some_facts: Any) -> None:
    site.spec(external={"url": "http://vendor.example.net:61009", "interface": "ClientAPI"})
    site.facts = some_facts(interface="ClientAPI", fence=None, serverCertificateNotAfter=None)
    assert site.plan.actions == ()
    assert site.condition("FullyObserved") == ("False", "PollingOnly")
    assert site.condition("ConfigInSync") == ("Unknown", "NotObservable")
    assert site.condition("Ready") == ("True", "Ready")


def test_an_unreachable_external_server(site: Any, some_facts: Any) -> None:
    settle(site)
    site.spec(external={"url": "unix:///run/manage.sock"})
    site.status()
    site.facts = some_facts(reachable=False, error="connection refused", errorReason="Unreachable")
    assert site.plan.actions == ()
    assert site.condition("Serving") == ("False", "Unreachable")
    assert site.document.status["identity"]["instanceID"] == "i-1"


def test_two_ropservers_at_one_server(site: Any) -> None:
    site.rivals = [replace(site.document, uid="s-2")]
    assert site.plan.actions == ()
    assert site.condition("Stalled") == ("True", "IdentityConflict")


def test_deleting_stops_the_server(site: Any) -> None:
    site.document = replace(site.document, deleting=site.now)
    assert site.plan.actions == (StopRuntime(),)
    site.spec(external={"url": "unix:///run/manage.sock"})
    assert site.plan.actions == ()
    assert site.condition("Ready") == ("False", "Terminating")


@pytest.mark.parametrize(
    ("days", "wanted"), [(60, ("True", "Valid")), (1, ("False", "RenewalOverdue")), (0, ("False", "Expired"))]
)
def test_the_servers_certificate(site: Any, some_facts: Any, days: int, wanted: tuple[str, str]) -> None:
    site.facts = some_facts(serverCertificateNotAfter=site.now + timedelta(days=days))
    assert site.condition("CertificatesValid") == wanted


def test_the_whole_table() -> None:
    spec = server_spec(
        {
            "host": "rop.example.net",
            "ports": {"getCAHttps": 7000},
            "deviceStream": {"encryption": "EncryptTCP"},
            "enrolment": {"codeExpiry": "2m"},
            "alarms": SINKS,
            "authority": {
                "serverCertificate": {"validityDays": 90, "renewBeforeDays": 30},
                "deviceCertificate": {"validityDays": 180},
            },
            "rtsp": {"playURLPrefix": "rtsps://gw.example.net:61004", "playURLExpiry": "45s"},
            "upgrades": {"maxSessions": 50, "sessionTTL": "30m"},
            "timeouts": {"socket": "40s", "stream": "1500ms", "snap": "10s"},
            "heartBeatInterval": "20s",
            "logs": {"levels": ["Error", "Warning"]},
        }
    )
    members = desired_members(spec, {"spec.alarms.sinks[0].urlRef": URL})
    assert members == {
        "serverHost": "rop.example.net",
        "ports.getCAHttps": 7000,
        "deviceStream.encryptMode": "encryptTCP",
        "authCode.expiredIn": 120,
        "alarm.enabled": True,
        "alarm.notificationURL": URL,
        "cert.serverCertValidDays": 90,
        "cert.serverCertValidDaysBefore": 30,
        "cert.clientCertValidDays": 180,
        "rtsp.playURLPrefix": "rtsps://gw.example.net:61004",
        "rtsp.playSessionTTL": 45000,
        "upgrade.maxSession": 50,
        "upgrade.sessionTTL": 1800000,
        "timeout.socket": 40000,
        "timeout.streamTimeout": 1500,
        "timeout.snap": 10000,
        "heartBeatInterval": 20,
        "logs.subjects": {"default": {"enabled": True, "levels": ["error", "warning"], "driver": "console"}},
    }
    assert URL not in str(shown(members))
    assert len({row.member for row in TABLE}) == len(TABLE)
    assert first_start(spec)["RTSP_PLAY_URL_PREFIX"] == "rtsps://gw.example.net:61004"


def test_no_sinks_switch_alarms_off() -> None:
    members = desired_members(server_spec({"host": "a", "alarms": {"sinks": []}}), {})
    assert members == {"serverHost": "a", "alarm.enabled": False, "alarm.notificationURL": ""}
    assert first_start(server_spec({"host": "::1"}))["RTSP_PLAY_URL_PREFIX"] == "rtsp://[::1]:61008"


def test_facts_come_back_from_the_status(site: Any) -> None:
    facts = server_facts_of(site.status())
    assert facts is not None
    assert (facts.instance_id, facts.fence, facts.reachable, facts.manager_id) == ("i-1", 0, True, "me")
    assert facts.config["authCode.expiredIn"] == 60
    assert server_facts_of({}) is None


def test_secrets_never_get_into_the_status(site: Any, some_facts: Any) -> None:
    site.spec(alarms=SINKS)
    site.secrets = {"spec.alarms.sinks[0].urlRef": URL}
    site.facts = some_facts(config={"alarm.notificationURL": URL, "authCode.signKey": "k" * 16})
    text = str(site.status()) + str(site.plan) + repr(site.snapshot)
    assert URL not in text
    assert "k" * 16 not in str(site.status())


def test_what_differs_around_a_server_is_repaired_beside_it(site: Any, some_facts: Any) -> None:
    settle(site)
    site.facts = some_facts(runtimeDrift=("Service home-inside",))
    assert [type(a) for a in site.plan.actions] == [EnsureRuntime]


def test_a_newer_pod_waits_for_a_verified_backup(site: Any, some_facts: Any) -> None:
    settle(site)
    site.spec(acknowledge=[])
    site.facts = some_facts(runtimeOutdated="a newer template of Pod home-0")
    assert RestartRuntime not in [type(a) for a in site.plan.actions]
    assert "UpdateHeld" in [f.reason for f in site.plan.findings]
    assert site.condition("ConfigInSync") == ("False", "UpdateHeld")
    site.spec(acknowledge=[{"edge": "NoBackup", "value": "home"}])
    assert site.plan.actions == (RestartRuntime(("a newer template of Pod home-0",)),)
