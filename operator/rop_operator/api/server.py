"""Kind `RopServer`: one core server, run here or elsewhere."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rop_operator.api.backup import Backup
from rop_operator.api.base import Model, ObjectName, SecretRef
from rop_operator.api.drill import DrillPolicy
from rop_operator.api.gateway import Gateway
from rop_operator.api.kubernetes import Kubernetes
from rop_operator.api.rules import Relation, Transition, between, fixed_presence, lasting, list_map, matching

HOST_PATTERN = r"[A-Za-z0-9]([-A-Za-z0-9.]{0,60}[A-Za-z0-9])?|[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f]{0,4}){2,7}"
PORT_MEMBERS = (
    "getCAHttps",
    "getCertHttps",
    "registerHttps",
    "keepAliveTCP",
    "signalingTLS",
    "streamTLS",
    "streamTCP",
    "clientRtsp",
    "clientHttp",
)
Host = Annotated[
    str,
    matching(
        HOST_PATTERN,
        "host is a name or IP address of at most 62 bytes, without scheme and port, that cameras can reach",
        255,
    ),
]
Port = Annotated[int, between(1, 65535, "a port")]
# Printable ASCII without / ? # (and without @ for a URL that must not carry a user).
_AUTHORITY = r"[!\"$-.0->@-~]{1,255}"
_NO_USER = r"[!\"$-.0->A-~]{1,255}"
PlayUrlPrefix = Annotated[
    str,
    matching(
        rf"rtsps?://{_AUTHORITY}(/[!\"$->@-~]{{0,512}}[!\"$-.0->@-~])?",
        "playURLPrefix is rtsp://HOST:PORT or rtsps://HOST:PORT without a slash at the end",
        800,
    ),
]
MOMENT = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
LogLevel = Literal["Info", "Error", "Debug", "Warning"]


class Ports(Model):
    """Ports by the names of config.json. Those left out keep the server's value (61000 to 61009 on a new one)."""

    get_ca_https: Annotated[Port | None, Field(alias="getCAHttps")] = None
    """Download of the authority's certificate, at set-up."""
    get_cert_https: Port | None = None
    """Device certificates, at set-up and renewal."""
    register_https: Port | None = None
    """Registration, mutual TLS."""
    keep_alive_tcp: Annotated[Port | None, Field(alias="keepAliveTCP")] = None
    """Keep-alive of battery cameras."""
    signaling_tls: Annotated[Port | None, Field(alias="signalingTLS")] = None
    """Commands, mutual TLS."""
    stream_tls: Annotated[Port | None, Field(alias="streamTLS")] = None
    """Media, TLS."""
    stream_tcp: Annotated[Port | None, Field(alias="streamTCP")] = None
    """Media, TCP."""
    client_rtsp: Port | None = None
    """RTSP for clients."""
    client_http: Port | None = None
    """HTTP interface for clients."""


class DeviceStream(Model):
    """Media between camera and server."""

    encryption: Literal["TLS", "EncryptTCP", "TCP"] | None = None
    """TLS, EncryptTCP (the protocol's own cipher) or TCP (clear)."""


class Enrolment(Model):
    """Which devices may enrol."""

    policy: Literal["Documented", "Open"] | None = None
    """Documented: only UIDs with a Camera. Open: any. Left out: Documented, Open on a server that was adopted."""
    code_expiry: Annotated[str, lasting(10, 3600, "codeExpiry", "60s")] | None = None
    """Life of an authorization code."""


class AlarmSink(Model):
    """A webhook for alarms."""

    name: ObjectName
    """A name for people."""
    url_ref: SecretRef
    """The URL, as a secret."""


class Alarms(Model):
    """Where alarms go."""

    sinks: Annotated[list[AlarmSink], Field(max_length=1, json_schema_extra=list_map("name"))] = []
    """At most one; none: alarms are not sent."""


class ServerCertificate(Model):
    """The certificate the server shows to devices."""

    validity_days: Annotated[int, between(1, 3650, "validityDays")] | None = None
    """Life in days."""
    renew_before_days: Annotated[int, between(1, 3649, "renewBeforeDays")] | None = None
    """Renewed so many days before its end."""
    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel=(
                "!has(self.validityDays) || !has(self.renewBeforeDays) || self.renewBeforeDays < self.validityDays"
            ),
            message="renewBeforeDays must be less than validityDays",
            check=lambda m: (
                m.validity_days is None or m.renew_before_days is None or m.renew_before_days < m.validity_days
            ),
        ),
    )


class DeviceCertificate(Model):
    """Certificates of devices."""

    validity_days: Annotated[int, between(1, 3650, "validityDays")] | None = None
    """Life in days."""


class Authority(Model):
    """Lives of certificates. Changes take effect at the next issue."""

    server_certificate: ServerCertificate | None = None
    """The server's."""
    device_certificate: DeviceCertificate | None = None
    """The devices'."""


class Rtsp(Model):
    """Play addresses."""

    play_url_prefix: PlayUrlPrefix | None = Field(default=None, alias="playURLPrefix")
    """What play addresses begin with. Left out: rtsps://HOST:PORT of gateway; on a new server without one
    rtsp://HOST:PORT of this document.
    """
    play_url_expiry: Annotated[str, lasting(1, 3600, "playURLExpiry", "30s")] | None = Field(
        default=None, alias="playURLExpiry"
    )
    """Life of a play address."""


class Upgrades(Model):
    """Firmware upgrades by the client interface."""

    max_sessions: Annotated[int, between(10, 10000, "maxSessions")] | None = None
    """Upgrades at the same time."""
    session_ttl: Annotated[str, lasting(60, 3600, "sessionTTL", "1h")] | None = Field(
        default=None, alias="sessionTTL"
    )
    """Life of an upgrade session."""


class Timeouts(Model):
    """How long the server waits for devices."""

    socket: Annotated[str, lasting(1, 600, "socket", "40s")] | None = None
    """Silence of a connection."""
    stream: Annotated[str, lasting(1, 600, "stream", "30s")] | None = None
    """Silence of media."""
    signaling_exec: Annotated[str, lasting(1, 600, "signalingExec", "10s")] | None = None
    """Answer to a command."""
    signaling_connection_idle: Annotated[str, lasting(1, 3600, "signalingConnectionIdle", "30s")] | None = None
    """A battery camera is put to sleep after this."""
    wakeup_device: Annotated[str, lasting(1, 600, "wakeupDevice", "10s")] | None = None
    """Answer to a wake-up."""
    wakeup_exec: Annotated[str, lasting(1, 600, "wakeupExec", "10s")] | None = None
    """Signaling connection after a wake-up."""
    upgrade_signaling: Annotated[str, lasting(1, 600, "upgradeSignaling", "60s")] | None = None
    """Answer to a piece of an upgrade."""
    snap: Annotated[str, lasting(5, 600, "snap", "10s")] | None = None
    """A snapshot."""


class Logs(Model):
    """The server's log."""

    levels: Annotated[
        list[LogLevel], Field(min_length=1, max_length=4, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = ["Info", "Error", "Warning"]
    """Levels that are written."""


class External(Model):
    """A server that runs elsewhere."""

    url: Annotated[
        str,
        matching(
            rf"unix:///[!-~]{{1,200}}|https?://{_NO_USER}/?",
            "url is https://HOST:PORT, http://HOST:PORT or unix:///PATH, without user and path",
            300,
        ),
    ]
    """Address of its management interface or client interface."""
    interface: Literal["Management", "ClientAPI"] = "Management"
    """Management: a rop-server of this project. ClientAPI: any server of the platform, observed by polling."""
    ca_ref: SecretRef | None = None
    """Certificates to trust, PEM."""
    token_ref: SecretRef | None = None
    """Bearer token of scope Admin; with Control the server is managed but config.json is only compared."""
    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel="self.interface != 'Management' || !self.url.startsWith('http://')",
            message="the management interface is reached by https:// or unix://, not by http://",
            check=lambda m: m.interface != "Management" or not m.url.startswith("http://"),
            member="url",
        ),
        Relation(
            cel="self.url.startsWith('unix://') || self.interface != 'Management' || has(self.tokenRef)",
            message="a management interface over https:// needs tokenRef; make one with rop-server token create",
            check=lambda m: m.url.startswith("unix://") or m.interface != "Management" or m.token_ref is not None,
        ),
    )


class DeletionGuard(Model):
    """Cameras that are deleted at once beyond both limits are held, and their devices stay allowed, until
    MassDeletion is acknowledged.
    """

    min_cameras: Annotated[int, between(1, 100_000, "minCameras")] = 5
    """Fewer than so many are never held."""
    percent: Annotated[int, between(1, 100, "percent")] = 10
    """Share of the server's cameras that may go unasked. 100: the guard is off."""
    window: Annotated[str, lasting(60, 86400, "window", "10m")] = "10m"
    """Those revoked so lately count as well."""


class ServerAcknowledgement(Model):
    """A dangerous change, written down. It authorises exactly this value and nothing else."""

    edge: Literal[
        "HostChange",
        "PortChange",
        "TakeOver",
        "DeleteServer",
        "RetireRoot",
        "RetireKey",
        "SingleRecipient",
        "NoBackup",
        "MassDeletion",
    ]
    """Which change."""
    value: Annotated[str, matching(r"[!-~]{1,255}", "value has 1 to 255 printable characters and no blanks", 255)]
    """The exact thing: HostChange the new host, PortChange `member:port`, TakeOver the present manager's id,
    DeleteServer the name of this object, RetireRoot the fingerprint of the root that is given up, RetireKey
    `ITEM:GENERATION` of what is given up, SingleRecipient the name of the only one who can open archives, NoBackup
    the name of this object: its keys may be lost, for a demo. MassDeletion the moment that status.deletions.hold
    tells: what was deleted until then is cut off.
    """
    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel=f"self.edge != 'MassDeletion' || self.value.matches('^{MOMENT}$')",
            message="MassDeletion takes the moment that status.deletions.hold tells, such as 2026-01-31T12:00:00Z",
            check=lambda m: m.edge != "MassDeletion" or re.fullmatch(MOMENT, m.value) is not None,
            member="value",
        ),
    )


class RopServerSpec(Model):
    """One core server."""

    transitions: ClassVar[tuple[Transition, ...]] = (
        fixed_presence("external", "a server runs here or elsewhere from the start; make another RopServer"),
    )

    host: Host
    """Name or address by which cameras reach the server; it is in every certificate. A change needs HostChange."""
    ports: Ports | None = None
    """Ports. Changes need PortChange."""
    device_stream: DeviceStream | None = None
    """Media between camera and server."""
    enrolment: Enrolment | None = None
    """Which devices may enrol."""
    alarms: Alarms | None = None
    """Where alarms go."""
    authority: Authority | None = None
    """Lives of certificates."""
    backup: Backup | None = None
    """Archives of everything that cannot be made again. Left out: the server keeps the policy it has."""
    drill: DrillPolicy | None = None
    """What RecoveryDrills of this server need. Left out: there can be none."""
    gateway: Gateway | None = None
    """HTTPS and RTSPS for clients. Left out: clients use the server's own ports."""
    rtsp: Rtsp | None = None
    """Play addresses."""
    upgrades: Upgrades | None = None
    """Firmware upgrades by the client interface."""
    timeouts: Timeouts | None = None
    """How long the server waits for devices."""
    heart_beat_interval: Annotated[str, lasting(1, 65535, "heartBeatInterval", "20s")] | None = None
    """Told to battery cameras at registration."""
    logs: Logs | None = None
    """The server's log."""
    config_policy: Literal["Enforce", "Report"] = "Enforce"
    """What happens when config.json differs from this document."""
    settings_resync: Annotated[str, lasting(1, 86400, "settingsResync", "10m")] = "10m"
    """Settings of mains-powered cameras are read again after this; battery cameras are never read."""
    settings_reads_per_second: Annotated[int, between(1, 1000, "settingsReadsPerSecond")] = 20
    """At most so many cameras are read a second, after a start or at a resync of the whole fleet."""
    deletion_guard: DeletionGuard | None = None
    """Against deleting many cameras by accident. Left out: 5 cameras, 10 percent, 10m."""
    suspend: bool = False
    """No configuration writes; nothing is written to its cameras. Observation and revocation go on."""
    external: External | None = None
    """Present: the server runs elsewhere. Fixed at creation."""
    kubernetes: Kubernetes | None = None
    """How the server is run on a cluster. Left out: the defaults."""
    acknowledge: Annotated[
        list[ServerAcknowledgement], Field(max_length=32, json_schema_extra=list_map("edge", "value"))
    ] = []
    """Dangerous changes that are wanted."""

    def acknowledged(self, edge: str, value: str) -> bool:
        """Whether exactly this change is authorised."""
        return any(a.edge == edge and a.value == value for a in self.acknowledge)
