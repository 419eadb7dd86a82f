"""The WiFi networks around a camera. The keys are public: they belong to virtual networks."""

from dataclasses import dataclass, field

from rop_wire.messages import WifiNetwork, WifiNetworks, WifiSet


@dataclass(frozen=True, slots=True)
class Network:
    """A network that can be joined; `key` empty: an open one. `channel` of the 2.4 GHz band; `signal` in dBm."""

    ssid: str
    signal: int
    channel: int
    key: str = field(default="", repr=False)


AROUND = (
    Network("ROP-Home", -41, 6, "virtual-home-key"),
    Network("ROP-Guest", -55, 1),
    Network("ROP-Barn", -79, 11, "virtual-barn-key"),
    Network("Überall & <Nirgends>", -88, 3, "virtual-other-key"),
)


def scan() -> WifiNetworks:
    """What a scan finds, and a hidden network besides."""
    found = [WifiNetwork(each.ssid, each.signal, bool(each.key)) for each in AROUND]
    return WifiNetworks((*found, WifiNetwork("", -90, True)))


def fitting(wanted: WifiSet) -> Network | None:
    """The network that a name and a key open; an open network takes any key."""
    return next((net for net in AROUND if net.ssid == wanted.ssid and net.key in ("", wanted.key)), None)
