"""The gateway of a server: what it is given, whether it serves, and what a status tells of it."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Mapping
from typing import Any

from rop_operator.api.facts import Document, GatewayFacts, ServerFacts
from rop_operator.api.gateway import CERTIFICATE_KEYS, Gateway
from rop_operator.domain.conditions import Condition, timestamp
from rop_operator.domain.plan import Action, EnsureGateway, Failed, Finding, ReplaceLabels, StopGateway, Wait
from rop_operator.domain.snapshot import BASIC_AUTH, GATEWAY_PAIR, ServerSnapshot
from rop_operator.domain.status import Outcomes

# Files that the gateway's document names, and the member that names each.
HTPASSWD, CHAIN, KEY = "htpasswd", "chain.pem", "key.pem"
RENEWED_BY_ITSELF = "CertificateExpiring"


def desired_gateway(snapshot: ServerSnapshot) -> EnsureGateway | None:
    """What rop-gateway is given: its document without places, and files. None while a secret is missing."""
    gateway = snapshot.spec.gateway
    if gateway is None:
        return None
    files = _files(gateway, snapshot)
    if files is None:
        return None
    fronted = {"trustedProxies": list(gateway.trusted_proxies), "proxyProtocol": gateway.proxy_protocol}
    document = {
        "host": gateway.host,
        "httpsPort": gateway.https_port,
        "rtspsPort": gateway.rtsps_port,
        "certificate": {
            "source": "Files" if gateway.certificate.source == "Secret" else gateway.certificate.source
        },
        "access": [each.model_dump(by_alias=True, exclude_none=True) for each in gateway.access],
        "allowedOrigins": list(gateway.allowed_origins),
        **(fronted if gateway.certificate.source == "External" else {}),
    }
    return EnsureGateway(gateway.host, document, files)


def _files(gateway: Gateway, snapshot: ServerSnapshot) -> dict[str, str] | None:
    """Contents by name of file; None while one has no value."""
    wanted: dict[str, Any] = {}
    if gateway.basic_auth_ref is not None:
        wanted[HTPASSWD] = snapshot.secrets.get(BASIC_AUTH)
    if gateway.certificate.secret_ref is not None:
        for name, key in zip((CHAIN, KEY), CERTIFICATE_KEYS, strict=True):
            wanted[name] = snapshot.secrets.get(f"{GATEWAY_PAIR}.{key}")
    if not all(isinstance(value, str) for value in wanted.values()):
        return None
    return {name: f"{value}\n" for name, value in wanted.items()}


def judge_gateway(snapshot: ServerSnapshot, facts: ServerFacts) -> tuple[list[Action], list[Finding]]:
    """What to do about the gateway, and what a person has to know."""
    actions: list[Action] = []
    run = snapshot.gateway_run
    wanted = desired_gateway(snapshot)
    if run is not None and snapshot.spec.gateway is None and run.state != "Stopped":
        actions.append(StopGateway())
    elif run is not None and wanted is not None:
        changed = not run.same and not snapshot.spec.suspend
        if run.state != "Running" or changed:
            actions.append(wanted)
    labels = labels_of(snapshot.cameras)
    if facts.gateway is not None and not snapshot.spec.suspend:
        digest = labels_digest(labels, facts.instance_id)
        if digest != applied_labels(snapshot.status) and (labels or applied_labels(snapshot.status)):
            actions.append(ReplaceLabels(labels))
    return actions, _prefix_findings(snapshot, facts)


def labels_of(cameras: Iterable[Document]) -> dict[str, Mapping[str, str]]:
    """Labels of documents by the UID they are about, for rules and tokens that name labels."""
    found = {
        str(each.spec.get("uid")): dict(each.labels) for each in cameras if each.deleting is None and each.labels
    }
    return dict(sorted(found.items()))


def labels_digest(labels: Mapping[str, Mapping[str, str]], instance: str | None) -> str:
    """Fingerprint of labels on one instance, to see whether they were applied."""
    text = json.dumps([instance, labels], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def applied_labels(status: Mapping[str, Any]) -> str | None:
    """Fingerprint of the labels applied last, as the status remembers it."""
    kept = status.get("gateway")
    return kept.get("labels") if isinstance(kept, Mapping) else None


def _prefix_findings(snapshot: ServerSnapshot, facts: ServerFacts) -> list[Finding]:
    """Play addresses that lead to a port where nobody of ours listens: a site that came from elsewhere, say."""
    told = facts.config.get("rtsp.playURLPrefix")
    asked = snapshot.spec.rtsp is not None and snapshot.spec.rtsp.play_url_prefix is not None
    port = facts.ports.get("clientRtsp")
    if asked or snapshot.spec.gateway is not None or not isinstance(told, str) or port is None:
        return []
    if told.startswith("rtsp://") and told.rpartition(":")[2].split("/")[0] == str(port):
        return []
    message = (
        f"play addresses begin with {told}, but RTSP is on port {port}; write spec.gateway, or what is right to"
        " spec.rtsp.playURLPrefix"
    )
    return [Finding("Warning", "PlayAddressElsewhere", message, "spec.rtsp.playURLPrefix")]


def gateway_condition(snapshot: ServerSnapshot, outcomes: Outcomes) -> Condition | None:
    """GatewayReady: True while the gateway serves as the document says. None where no gateway is asked for."""
    if snapshot.parsed is None or snapshot.spec.gateway is None:
        return None
    for action, outcome in outcomes:
        if isinstance(action, EnsureGateway) and isinstance(outcome, Wait | Failed):
            return Condition("GatewayReady", "False", outcome.reason, outcome.message)
    run = snapshot.gateway_run
    if run is not None and run.state == "Failed":
        return Condition("GatewayReady", "False", "GatewayFailed", run.message or "rop-gateway does not start")
    facts = snapshot.facts
    if facts is None or not facts.reachable:
        return Condition("GatewayReady", "Unknown", "Observing", "the server is not observed yet")
    if facts.gateway is None:
        return Condition("GatewayReady", "Unknown", "NotObservable", "this interface does not tell of gateways")
    return _reported(snapshot.spec.gateway, facts.gateway, run is not None)


def _reported(wanted: Gateway, told: GatewayFacts, ours: bool) -> Condition:
    """By what the gateway says of itself."""
    if not told.present:
        if ours:
            return Condition("GatewayReady", "False", "GatewayStarting", "the gateway has not reported yet")
        message = f"no gateway for {wanted.host} reports to the server; run rop-gateway (docs/gateway.md)"
        return Condition("GatewayReady", "False", "GatewayMissing", message)
    seen = (told.host, told.https_port, told.rtsps_port)
    if seen != (plain_host(wanted.host), wanted.https_port, wanted.rtsps_port):
        message = f"the gateway still serves {seen[0]}, ports {seen[1]} and {seen[2]}"
        return Condition("GatewayReady", "False", "GatewayDiffers", message)
    if told.reason != "Ready":
        usable = told.serving and told.reason == RENEWED_BY_ITSELF
        return Condition("GatewayReady", "True" if usable else "False", told.reason, told.message)
    if not told.serving:
        return Condition("GatewayReady", "False", "GatewayStarting", "nginx is starting")
    ends = f", certificate until {timestamp(told.not_after)}" if told.not_after is not None else ""
    return Condition("GatewayReady", "True", "Ready", f"{url_of(wanted)}{ends}")


def plain_host(host: str) -> str:
    """A host as the gateway and the server write it: names in lower case, addresses in their short form."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


def url_of(gateway: Gateway) -> str:
    """Where clients call."""
    host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
    return f"https://{host}:{gateway.https_port}"


def gateway_status(snapshot: ServerSnapshot, outcomes: Outcomes) -> dict[str, Any]:
    """Member `gateway` of the status; empty when there is nothing to tell."""
    told: dict[str, Any] = {}
    gateway = snapshot.spec.gateway if snapshot.parsed is not None else None
    known = snapshot.facts.gateway if snapshot.facts is not None else None
    if gateway is not None:
        told |= {"url": url_of(gateway), "playURLPrefix": gateway.play_url_prefix}
        if known is not None and known.serial is not None:
            told["serial"] = known.serial
            if known.not_after is not None:
                told["notAfter"] = timestamp(known.not_after)
    labels = applied_labels(snapshot.status)
    for action, outcome in outcomes:
        if isinstance(action, ReplaceLabels) and not isinstance(outcome, Wait | Failed) and snapshot.facts:
            labels = labels_digest(action.labels, snapshot.facts.instance_id)
    if labels is not None:
        told["labels"] = labels
    return told
