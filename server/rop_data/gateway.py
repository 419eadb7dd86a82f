"""What a site lets a gateway do: member `gateway` of rop.json."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rop_data.config import ConfigError

MAX_HOSTS = 8
MAX_PROXIES = 64
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """`hosts`: names and addresses for which a gateway gets certificates of the site's authority. `proxies`:
    networks from which connections to 61008 begin with a PROXY header.
    """

    hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()

    def encode(self) -> dict[str, Any]:
        """The member of rop.json."""
        return {"hosts": list(self.hosts), "proxies": list(self.proxies)}


def decode(raw: Any) -> GatewaySettings:
    """The member of rop.json; None: nothing is allowed. Raises ConfigError."""
    if raw is None:
        return GatewaySettings()
    if not isinstance(raw, Mapping) or set(raw) - {"hosts", "proxies"}:
        raise ConfigError("rop.gateway", "an object with hosts and proxies")
    hosts, proxies = _texts(raw, "hosts", MAX_HOSTS), _texts(raw, "proxies", MAX_PROXIES)
    return GatewaySettings(tuple(map(_host, hosts)), tuple(map(_network, proxies)))


def _texts(raw: Mapping[str, Any], name: str, most: int) -> list[str]:
    value = raw.get(name) or []
    if not isinstance(value, list) or len(value) > most or not all(isinstance(each, str) for each in value):
        raise ConfigError(f"rop.gateway.{name}", f"a list of at most {most} texts")
    return value


def _host(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    if not _NAME.fullmatch(value):
        raise ConfigError("rop.gateway.hosts", "host names or IP addresses", repr(value)[:80])
    return value.lower()


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ConfigError("rop.gateway.proxies", "IP addresses or networks", repr(value)[:80]) from None
