"""Whether cameras outside of the LAN can reach a server by its host."""

from __future__ import annotations

import ipaddress

# Names that mean something on one network only. Source: RFC 6761, 6762, 8375, 9476 and common habit.
LOCAL_SUFFIXES = (
    "local",
    "localhost",
    "lan",
    "home",
    "internal",
    "intranet",
    "home.arpa",
    "alt",
    "test",
    "invalid",
)


def not_public(host: str) -> str | None:
    """Why a camera with a mobile connection cannot reach this host, None when nothing speaks against it."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        name = host.rstrip(".").lower()
        if "." not in name:
            return f"{host} is a name of this network only"
        suffix = next((s for s in LOCAL_SUFFIXES if name.endswith(f".{s}")), None)
        return f"names below .{suffix} are known on their own network only" if suffix else None
    if address.is_global and not address.is_multicast:
        return None
    return f"{host} is not a public address"
