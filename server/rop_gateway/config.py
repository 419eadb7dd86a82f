"""The gateway's document: one YAML (or JSON) file. Every refusal names the member and the rule."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

VERBS = ("read", "live", "replay", "control", "provision", "firmware")
MAX_DOCUMENT = 1024 * 1024
# sockaddr_un holds 108 bytes with the final zero; our longest name is told below.
MAX_SOCKET_FOLDER = 107 - len("/authorize.sock")
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_ORIGIN = re.compile(r"https?://[a-z0-9.-]{1,253}(:[0-9]{1,5})?|https?://\[[0-9a-f:]{2,39}\](:[0-9]{1,5})?")
_PREFIX = re.compile(r"rtsps://(\[[0-9A-Fa-f:]{2,39}\]|[A-Za-z0-9.-]{1,253})(:[0-9]{1,5})?")
# What nginx's configuration and a log line can carry without quoting.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/@:+=-]{1,254}")


class ConfigError(Exception):
    """The document cannot be used. `problems`: member and rule of each."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{member}: {rule}" if member else rule for member, rule in problems))
        self.problems = problems


def _host(value: str) -> str:
    if _HOST.fullmatch(value):
        return value.lower()
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("must be a host name or an IP address, without scheme and port") from None


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("must be an IP address of this machine, 0.0.0.0 or ::") from None


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError("must be an IP address or a network such as 192.0.2.0/24") from None


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise ValueError("must be an origin such as https://wall.example.net: scheme, host, port, no path, no *")
    return value


def _prefix(value: str) -> str:
    if not _PREFIX.fullmatch(value):
        raise ValueError("must be rtsps://HOST:PORT without a slash at the end")
    return value


def _path(value: Path) -> Path:
    text = str(value)
    if not _PLAIN_PATH.fullmatch(text) or ".." in value.parts:
        raise ValueError("must be an absolute path of letters, digits and ._/@:+=- without ..")
    return value


def _folder(value: Path) -> Path:
    if len(str(value)) > MAX_SOCKET_FOLDER:
        raise ValueError(
            f"must have {MAX_SOCKET_FOLDER} bytes at most: sockets lie in it, and their paths are short"
        )
    return _path(value)


def _seconds(value: object) -> object:
    """A duration such as 30m, 24h or 90s, in seconds."""
    found = re.fullmatch(r"([0-9]{1,9})(s|m|h)", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a duration such as 90s, 30m or 24h")
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
Plain = Annotated[Path, Field(strict=False), AfterValidator(_path)]
Folder = Annotated[Path, Field(strict=False), AfterValidator(_folder)]
Duration = Annotated[int, BeforeValidator(_seconds)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$")]
Verb = Literal["read", "live", "replay", "control", "provision", "firmware"]


class Model(BaseModel):
    """A part of the document."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True, frozen=True)


class Certificate(Model):
    """`Authority`: made here, signed by the site's authority. `Files`: a pair that somebody else renews.
    `External`: a load balancer ends TLS in front of us.
    """

    source: Literal["Authority", "Files", "External"] = "Authority"
    chain_file: Plain | None = None
    key_file: Plain | None = None

    @model_validator(mode="after")
    def _fits(self) -> Certificate:
        named = self.chain_file is not None and self.key_file is not None
        if self.source == "Files" and not named:
            raise ValueError("source Files needs chainFile and keyFile")
        if self.source != "Files" and (self.chain_file is not None or self.key_file is not None):
            raise ValueError(f"chainFile and keyFile go with source Files, not with {self.source}")
        return self


class Cameras(Model):
    """Which cameras: those listed, and those with all of these labels. Left out: every camera."""

    uids: Annotated[list[Annotated[str, Field(pattern=r"^[A-Z0-9]{16}$")]], Field(max_length=10_000)] = []
    labels: dict[str, str] = {}

    @model_validator(mode="after")
    def _some(self) -> Cameras:
        if not self.uids and not self.labels:
            raise ValueError("needs uids or labels; leave cameras out for all of them")
        return self


class Access(Model):
    """What a user of the password file or the holder of a client certificate may do."""

    user: Name | None = None
    certificate: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    verbs: Annotated[list[Verb], Field(min_length=1)]
    cameras: Cameras | None = None

    @model_validator(mode="after")
    def _one(self) -> Access:
        if (self.user is None) == (self.certificate is None):
            raise ValueError("needs either user or certificate (the common name)")
        return self


class Play(Model):
    """Play addresses that are handed out through the gateway."""

    bind_to_address: bool = False
    single_viewer: bool = False


class Limits(Model):
    """Bounds for each client address, and of the gateway as a whole."""

    requests_per_second: Annotated[int, Field(ge=1, le=10_000)] = 20
    burst: Annotated[int, Field(ge=0, le=10_000)] = 60
    connections_per_address: Annotated[int, Field(ge=1, le=100_000)] = 64
    viewers_per_address: Annotated[int, Field(ge=1, le=100_000)] = 64
    connections: Annotated[int, Field(ge=64, le=100_000)] = 4096
    firmware_mib: Annotated[int, Field(ge=1, le=1024, alias="firmwareMiB")] = 256
    longest_session: Duration = 86_400
    check_interval: Duration = 5

    @model_validator(mode="after")
    def _fits(self) -> Limits:
        if not 60 <= self.longest_session <= 30 * 86_400:
            raise ValueError("longestSession must be from 60s to 720h")
        if not 1 <= self.check_interval <= 3600:
            raise ValueError("checkInterval must be from 1s to 1h")
        return self


class Gateway(Model):
    """The document. `directory`: what rop-gateway writes. `sockets`: where rop-server listens for it."""

    host: Host
    https_port: Port = 61010
    rtsps_port: Port = 61004
    listen: Annotated[list[Annotated[str, AfterValidator(_address)]], Field(min_length=1, max_length=16)] = [
        "0.0.0.0",  # noqa: S104 - a gateway is there for everybody
        "::",
    ]
    directory: Folder
    sockets: Folder
    certificate: Certificate = Certificate()
    htpasswd_file: Plain | None = None
    client_ca_file: Annotated[Plain | None, Field(alias="clientCAFile")] = None
    access: Annotated[list[Access], Field(max_length=1000)] = []
    allowed_origins: Annotated[list[Annotated[str, AfterValidator(_origin)]], Field(max_length=100)] = []
    play: Play = Play()
    play_url_prefix: Annotated[Annotated[str, AfterValidator(_prefix)] | None, Field(alias="playURLPrefix")] = None
    trusted_proxies: Annotated[list[Annotated[str, AfterValidator(_network)]], Field(max_length=100)] = []
    proxy_protocol: bool = False
    limits: Limits = Limits()

    @property
    def external(self) -> bool:
        """Whether somebody in front of us ends TLS."""
        return self.certificate.source == "External"

    @property
    def prefix(self) -> str:
        """What play addresses begin with."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.play_url_prefix or f"rtsps://{host}:{self.rtsps_port}"

    @model_validator(mode="after")
    def _fits(self) -> Gateway:
        for wrong, member, rule in _relations(self):
            if wrong:
                raise ValueError(f"{member}: {rule}")
        return self


def _relations(it: Gateway) -> list[tuple[bool, str, str]]:
    """Rules over several members: broken, where a person looks first, what to do."""
    users = [each.user for each in it.access if each.user is not None]
    names = [each.certificate for each in it.access if each.certificate is not None]
    return [
        (it.https_port == it.rtsps_port, "rtspsPort", "must differ from httpsPort"),
        (bool(users) and it.htpasswd_file is None, "htpasswdFile", "is needed: access names users"),
        (bool(names) and it.client_ca_file is None, "clientCAFile", "is needed: access names certificates"),
        (it.client_ca_file is not None and not names, "access", "clientCAFile admits nobody: name certificates"),
        (len(set(users)) < len(users) or len(set(names)) < len(names), "access", "names somebody twice"),
        (it.external and it.client_ca_file is not None, "clientCAFile", "needs TLS, which ends in front of us"),
        (
            it.external and not it.trusted_proxies,
            "trustedProxies",
            "is needed: the addresses of the load balancer",
        ),
        (not it.external and bool(it.trusted_proxies), "trustedProxies", "goes with certificate.source External"),
        (it.proxy_protocol and not it.external, "proxyProtocol", "goes with certificate.source External"),
        (
            it.external and not it.proxy_protocol and it.play.bind_to_address,
            "play.bindToAddress",
            "needs proxyProtocol: without it every viewer has the load balancer's address",
        ),
    ]


class _Loader(yaml.SafeLoader):
    """YAML without repeated keys."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError([(str(key), "is there twice")])
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse(text: str) -> Gateway:
    """The document in a text. Raises ConfigError."""
    try:
        told = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f"line {place.line + 1}" if place is not None else ""
        raise ConfigError([(where, "is not YAML")]) from None
    if not isinstance(told, dict):
        raise ConfigError([("", "must be an object with host, directory and sockets")])
    try:
        return Gateway.model_validate(told)
    except ValidationError as error:
        raise ConfigError([_problem(each) for each in error.errors(include_url=False)]) from None


def _problem(error: Any) -> tuple[str, str]:
    member = ".".join(str(part) for part in error["loc"])
    rule = str(error["msg"]).removeprefix("Value error, ")
    named, colon, rest = rule.partition(": ")
    if not member and colon and " " not in named:
        return named, rest
    return member, rule


def load(path: Path) -> Gateway:
    """The document in a file. Raises ConfigError, also when it cannot be read."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_DOCUMENT + 1)
        if len(raw) > MAX_DOCUMENT:
            raise ConfigError([("", f"{path} is longer than {MAX_DOCUMENT} bytes")])
        return parse(raw.decode("utf-8"))
    except OSError as error:
        raise ConfigError([("", f"{path}: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([("", f"{path} is not UTF-8")]) from None
