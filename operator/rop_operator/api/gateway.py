"""Member `gateway` of a RopServer: HTTPS and RTSPS for clients, in front of the server's client ports."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from rop_operator.api.base import Model, ObjectRef, SecretRef
from rop_operator.api.camera import UID_PATTERN
from rop_operator.api.rules import Relation, between, list_map, matching
from rop_operator.api.selector import Labels

CERTIFICATE_KEYS = ("tls.crt", "tls.key")
_SET: dict[str, JsonValue] = {"x-kubernetes-list-type": "set"}
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
GatewayHost = Annotated[
    str,
    matching(
        rf"{_LABEL}(\.{_LABEL})*|[0-9A-Fa-f]{{0,4}}(:[0-9A-Fa-f]{{0,4}}){{2,7}}",
        "host is a name or IP address without scheme and port, by which clients reach the gateway",
        253,
    ),
]
Network = Annotated[
    str,
    matching(r"[0-9A-Fa-f.:]{2,45}(/[0-9]{1,3})?", "a network is an address or a CIDR such as 192.0.2.0/24", 50),
]
Origin = Annotated[
    str,
    matching(
        r"https?://([a-z0-9.-]{1,200}|\[[0-9a-f:]{2,39}\])(:[0-9]{1,5})?",
        "an origin is scheme, host and maybe port, such as https://wall.example.net; no path and no *",
        300,
    ),
]
Uid = Annotated[str, matching(UID_PATTERN, "a UID is 16 upper-case letters and digits", 16)]
Verb = Literal["read", "live", "replay", "control", "provision", "firmware"]


class GatewayCertificate(Model):
    """Where the certificate comes from that clients see."""

    source: Literal["Authority", "Secret", "External"] = "Authority"
    """Authority: the server's own root signs it, and it is renewed by itself. Secret: somebody else renews it.
    External: a load balancer in front ends TLS.
    """
    secret_ref: ObjectRef | None = None
    """For source Secret: its keys tls.crt (chain) and tls.key."""
    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel="(has(self.source) && self.source == 'Secret') == has(self.secretRef)",
            message="source Secret needs secretRef, and no other source has one",
            check=lambda m: (m.source == "Secret") == (m.secret_ref is not None),
            member="secretRef",
        ),
    )


class AccessCameras(Model):
    """Which cameras."""

    uids: Annotated[list[Uid], Field(max_length=1000, json_schema_extra=_SET)] = []
    """These."""
    labels: Labels = {}
    """And those whose documents have all of these labels."""
    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel="(has(self.uids) && size(self.uids) > 0) || (has(self.labels) && size(self.labels) > 0)",
            message="cameras needs uids or labels; leave it out for every camera",
            check=lambda m: bool(m.uids or m.labels),
        ),
    )


class AccessRule(Model):
    """What a user of the password file may do."""

    user: Annotated[
        str,
        matching(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", "user is 1 to 63 letters, digits and ._@-", 63),
    ]
    """Name in the password file."""
    verbs: Annotated[list[Verb], Field(min_length=1, max_length=6, json_schema_extra=_SET)]
    """What."""
    cameras: AccessCameras | None = None
    """With which cameras. Left out: every one."""


def _fronted(gateway: Gateway) -> bool:
    return gateway.certificate.source == "External"


class Gateway(Model):
    """HTTPS and RTSPS for clients. Run by the engine beside a server that it runs; else run it yourself."""

    host: GatewayHost
    """Name by which clients reach it; the certificate is for it."""
    https_port: Annotated[int, between(1, 65535, "httpsPort")] = 61010
    """HTTPS, in front of clientHttp."""
    rtsps_port: Annotated[int, between(1, 65535, "rtspsPort")] = 61004
    """RTSPS, in front of clientRtsp."""
    certificate: GatewayCertificate = GatewayCertificate()
    """The certificate."""
    basic_auth_ref: SecretRef | None = None
    """Users and their bcrypt hashes, as htpasswd writes them. Left out: only tokens get in."""
    access: Annotated[list[AccessRule], Field(max_length=100, json_schema_extra=list_map("user"))] = []
    """What users may do. A user who is not listed may do everything."""
    allowed_origins: Annotated[list[Origin], Field(max_length=100, json_schema_extra=_SET)] = []
    """Web pages of these origins may call it from a browser."""
    trusted_proxies: Annotated[list[Network], Field(max_length=100, json_schema_extra=_SET)] = []
    """Networks of the load balancer, for certificate.source External."""
    proxy_protocol: bool = False
    """The load balancer tells each caller's address by PROXY protocol."""
    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel=(
                "(has(self.httpsPort) ? self.httpsPort : 61010) != (has(self.rtspsPort) ? self.rtspsPort : 61004)"
            ),
            message="rtspsPort must differ from httpsPort",
            check=lambda m: m.https_port != m.rtsps_port,
            member="rtspsPort",
        ),
        Relation(
            cel=(
                "(has(self.certificate) && has(self.certificate.source) && self.certificate.source == 'External')"
                " == (has(self.trustedProxies) && size(self.trustedProxies) > 0)"
            ),
            message="source External needs trustedProxies, the load balancer's networks; no other source has them",
            check=lambda m: _fronted(m) == bool(m.trusted_proxies),
            member="trustedProxies",
        ),
        Relation(
            cel=(
                "!has(self.proxyProtocol) || !self.proxyProtocol"
                " || (has(self.certificate) && has(self.certificate.source)"
                " && self.certificate.source == 'External')"
            ),
            message="proxyProtocol goes with certificate.source External",
            check=lambda m: not m.proxy_protocol or _fronted(m),
            member="proxyProtocol",
        ),
        Relation(
            cel="!has(self.access) || size(self.access) == 0 || has(self.basicAuthRef)",
            message="access names users: write basicAuthRef, the password file",
            check=lambda m: not m.access or m.basic_auth_ref is not None,
            member="basicAuthRef",
        ),
    )

    @property
    def play_url_prefix(self) -> str:
        """What play addresses begin with."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"rtsps://{host}:{self.rtsps_port}"
