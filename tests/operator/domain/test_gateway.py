"""The gateway of a RopServer: what it is given, when, and whether it is ready."""

from dataclasses import replace
from typing import Any

import pytest

from rop_operator.api.facts import GatewayFacts, GatewayRun
from rop_operator.domain.config_map import desired_members, first_start
from rop_operator.domain.describe import describe
from rop_operator.domain.plan import (
    ApplyConfig,
    Done,
    EnsureGateway,
    ReplaceClaims,
    ReplaceLabels,
    StopGateway,
    StopRuntime,
    Wait,
)
from rop_operator.domain.snapshot import SecretProblem, secret_uses

HOST = "gw.example.net"
USERS = {"name": "gateway", "key": "htpasswd"}
FIELD = "spec.gateway.basicAuthRef"
RUNNING, OTHER = GatewayRun(state="Running", same=True), GatewayRun(state="Running", same=False)
STOPPED = GatewayRun(state="Stopped")


class Front:
    """A settled server with a gateway in front."""

    def __init__(self, site: Any) -> None:
        self.site = site
        site.status([(a, Done()) for a in site.plan.actions if isinstance(a, ReplaceClaims)])
        site.gateway_run = RUNNING
        self.asks(host=HOST)
        self.tells()

    def asks(self, **gateway: Any) -> None:
        self.site.spec(gateway=gateway)

    def tells(self, **members: Any) -> None:
        told = {"present": True, "serving": True, "reason": "Ready", "host": HOST, **members}
        ports = {"httpsPort": 61010, "rtspsPort": 61004}
        facts = GatewayFacts.model_validate({**ports, **told})
        self.site.facts = self.site.facts.model_copy(update={"gateway": facts})

    @property
    def actions(self) -> tuple[Any, ...]:
        return self.site.plan.actions  # type: ignore[no-any-return]

    def ready(self, outcomes: Any = ()) -> tuple[str, str]:
        return self.site.condition("GatewayReady", outcomes)  # type: ignore[no-any-return]


@pytest.fixture
def front(site: Any) -> Front:
    return Front(site)


def test_it_is_started_and_given_what_the_document_says(front: Front) -> None:
    front.site.gateway_run = STOPPED
    rule = {"user": "guard", "verbs": ["read"], "cameras": {"labels": {"place": "yard"}}}
    front.asks(host=HOST, basicAuthRef=USERS, access=[rule], allowedOrigins=["https://wall.example.net"])
    front.site.secrets[FIELD] = "alice:$2b$12$secret"
    (action,) = front.actions
    assert action == EnsureGateway(
        HOST,
        {
            "host": HOST,
            "httpsPort": 61010,
            "rtspsPort": 61004,
            "certificate": {"source": "Authority"},
            "access": [{"user": "guard", "verbs": ["read"], "cameras": {"uids": [], "labels": {"place": "yard"}}}],
            "allowedOrigins": ["https://wall.example.net"],
        },
        {"htpasswd": "alice:$2b$12$secret\n"},
    )
    assert describe(action) == "run the gateway gw.example.net"
    assert "secret" not in repr(action)
    assert {use.field: (use.name, use.key) for use in secret_uses(front.site.snapshot.spec)} == {
        FIELD: ("gateway", "htpasswd")
    }


def test_a_pair_from_a_secret_becomes_files(front: Front) -> None:
    front.asks(host=HOST, certificate={"source": "Secret", "secretRef": {"name": "tls"}})
    where = "spec.gateway.certificate.secretRef"
    front.site.secrets |= {f"{where}.tls.crt": "CHAIN", f"{where}.tls.key": "KEY"}
    front.site.gateway_run = OTHER
    (action,) = front.actions
    assert (action.document["certificate"], action.files) == (
        {"source": "Files"},
        {"chain.pem": "CHAIN\n", "key.pem": "KEY\n"},
    )


def test_a_load_balancer_in_front(front: Front) -> None:
    front.site.gateway_run = OTHER
    front.asks(host=HOST, certificate={"source": "External"}, trustedProxies=["192.0.2.0/24"], proxyProtocol=True)
    (action,) = front.actions
    assert action.document["certificate"] == {"source": "External"}
    assert (action.document["trustedProxies"], action.document["proxyProtocol"]) == (["192.0.2.0/24"], True)


@pytest.mark.parametrize(
    ("run", "suspended", "acts"),
    [
        (RUNNING, False, False),
        (OTHER, False, True),
        (OTHER, True, False),
        (GatewayRun(state="Failed", same=True), True, True),
        (None, False, False),
    ],
)
def test_nothing_is_done_without_need(front: Front, run: GatewayRun | None, suspended: bool, acts: bool) -> None:
    front.site.gateway_run = run
    front.site.spec(suspend=suspended)
    assert any(isinstance(action, EnsureGateway) for action in front.actions) is acts


def test_a_missing_secret_leaves_the_gateway_as_it_is(front: Front) -> None:
    front.asks(host=HOST, basicAuthRef=USERS)
    front.site.secrets[FIELD] = SecretProblem("SecretNotFound", "no secret gateway")
    front.site.gateway_run = OTHER
    assert front.actions == ()
    assert front.site.condition("Accepted") == ("False", "SecretNotFound")


def test_it_stops_when_the_document_no_longer_names_it_and_with_the_server(front: Front) -> None:
    with_it = front.site.document
    front.site.document = replace(with_it, spec={k: v for k, v in with_it.spec.items() if k != "gateway"})
    assert front.actions == (StopGateway(),)
    front.site.gateway_run = STOPPED
    assert front.actions == ()
    assert "GatewayReady" not in [c["type"] for c in front.site.status()["conditions"]]
    front.site.gateway_run = RUNNING
    front.site.document = replace(with_it, deleting=front.site.now)
    assert front.actions == (StopGateway(), StopRuntime())


def test_the_server_lets_it_in_first_and_plays_through_it(front: Front) -> None:
    spec = front.site.snapshot.spec
    members = desired_members(spec, {})
    assert members["rop.gateway"] == {"hosts": [HOST], "proxies": []}
    assert members["rtsp.playURLPrefix"] == "rtsps://gw.example.net:61004"
    assert first_start(spec)["RTSP_PLAY_URL_PREFIX"] == "rtsps://gw.example.net:61004"
    own = front.site.spec(rtsp={"playURLPrefix": "rtsp://10.0.0.1:61008"}).snapshot.spec
    assert desired_members(own, {})["rtsp.playURLPrefix"] == "rtsp://10.0.0.1:61008"
    front.site.gateway_run = STOPPED
    front.site.facts = front.site.facts.model_copy(update={"config_differs": ("rop.gateway",)})
    assert [type(action) for action in front.actions] == [ApplyConfig, EnsureGateway]


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        ({}, ("True", "Ready")),
        ({"present": False}, ("False", "GatewayStarting")),
        ({"host": "old.example.net"}, ("False", "GatewayDiffers")),
        ({"httpsPort": 443}, ("False", "GatewayDiffers")),
        ({"reason": "KeyMismatch", "message": "the key"}, ("False", "KeyMismatch")),
        ({"reason": "CertificateExpiring", "message": "soon"}, ("True", "CertificateExpiring")),
        ({"reason": "CertificateExpiring", "message": "soon", "serving": False}, ("False", "CertificateExpiring")),
        ({"serving": False}, ("False", "GatewayStarting")),
    ],
)
def test_ready_is_what_the_gateway_tells(front: Front, told: dict[str, Any], verdict: tuple[str, str]) -> None:
    front.tells(**told)
    assert front.ready() == verdict
    ready = front.site.condition("Ready")
    assert (ready == ("True", "Ready")) is (verdict[0] == "True"), ready


def test_a_gateway_that_does_not_start(front: Front) -> None:
    front.site.gateway_run = GatewayRun(state="Failed", message="port 61010 is in use")
    assert front.ready() == ("False", "GatewayFailed")
    action = EnsureGateway(HOST, {}, {})
    assert front.ready([(action, Wait(1.0, "GatewayFailed", "no nginx"))]) == ("False", "GatewayFailed")


def test_a_gateway_that_somebody_else_runs(front: Front) -> None:
    front.site.gateway_run = None
    assert front.actions == ()
    assert front.ready() == ("True", "Ready")
    front.tells(present=False)
    assert front.ready() == ("False", "GatewayMissing")
    front.site.facts = front.site.facts.model_copy(update={"gateway": None})
    assert front.ready() == ("Unknown", "NotObservable")


def test_the_status_names_address_and_certificate(front: Front) -> None:
    front.tells(serial="AB12", notAfter="2026-08-01T00:00:00Z")
    assert front.site.status()["gateway"] == {
        "url": "https://gw.example.net:61010",
        "playURLPrefix": "rtsps://gw.example.net:61004",
        "serial": "AB12",
        "notAfter": "2026-08-01T00:00:00Z",
    }


def test_labels_of_documents_reach_the_server_once(front: Front) -> None:
    camera = front.site.camera(labels={"place": "yard"})
    front.site.cameras = [camera, front.site.camera(name="other", uid="OTHER00000000001")]
    found = [action for action in front.actions if isinstance(action, ReplaceLabels)]
    assert found == [ReplaceLabels({camera.spec["uid"]: {"place": "yard"}})]
    front.site.status([(found[0], Done())])
    assert not [action for action in front.actions if isinstance(action, ReplaceLabels)]
    front.site.cameras = []
    assert [a for a in front.actions if isinstance(a, ReplaceLabels)] == [ReplaceLabels({})]
    front.site.facts = front.site.facts.model_copy(update={"gateway": None})
    assert not [action for action in front.actions if isinstance(action, ReplaceLabels)]


@pytest.mark.parametrize(
    ("prefix", "reported"),
    [
        ("rtsp://10.0.0.1:61008", False),
        ("rtsp://10.0.0.1:61008/x", False),
        ("rtsp://10.0.0.1:554", True),
        ("rtsps://gw.example.net:61010", True),
    ],
)
def test_play_addresses_that_lead_elsewhere_are_reported(site: Any, prefix: str, reported: bool) -> None:
    told = {"config": {"rtsp.playURLPrefix": prefix}, "ports": {"clientRtsp": 61008}}
    site.facts = site.facts.model_copy(update=told)
    assert ("PlayAddressElsewhere" in [finding.reason for finding in site.plan.findings]) is reported
    site.spec(rtsp={"playURLPrefix": prefix})
    assert "PlayAddressElsewhere" not in [finding.reason for finding in site.plan.findings]
