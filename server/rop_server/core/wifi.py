"""WiFi of devices: in use, networks around, test, join; and what a name, a key and a country may be.

Source: ROP v1.0 wire specification, client-api 2.15, device-protocol 10.10; discrepancies B13, C3.8, C3.9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rop_server.core.facade import CallError, Devices
from rop_wire import messages

MAX_BYTES = 127
# The vendor's set, plus blank and all beyond ASCII (discrepancies B13). Backslash, tilde, backquote stay out.
_TEXT = re.compile(r"[ !-\[\]-_a-}\u00a0-\U0010ffff]*")
_COUNTRY = re.compile(r"[A-Z]{2}")


def is_text(value: object, low: int) -> bool:
    """Whether a value can be an SSID or a key: `low` to 127 bytes of UTF-8."""
    if not isinstance(value, str) or not _TEXT.fullmatch(value) or not value.isprintable():
        return False
    try:
        return low <= len(value.encode()) <= MAX_BYTES
    except UnicodeEncodeError:
        return False


def is_country(value: object) -> bool:
    """Whether a value can be a country code: two capital letters."""
    return isinstance(value, str) and _COUNTRY.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Network:
    """A network to join or to try."""

    ssid: str
    key: str = field(repr=False)
    country_code: str


class Wifi:
    """The WiFi commands. Channel 0 has to have WiFi (`need`, asked once per connection, `cmd_not_support`).

    `wake`: whether a sleeping device may be woken. Calls raise as `Devices.call`, and `WireError` for an answer
    that breaks the protocol.
    """

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    async def in_use(self, uid: str, *, wake: bool = True) -> messages.WifiConfig:
        """The WiFi in use."""
        await self.need(uid, wake=wake)
        payload = await self._devices.call(uid, messages.WifiGet(), wake=wake)
        if not payload:
            raise CallError("cmd_exec_error", "empty answer")
        return messages.WifiConfig.decode(payload)

    async def scan(self, uid: str, timeout: float, *, wake: bool = True) -> tuple[messages.WifiNetwork, ...]:
        """Networks that the device sees. A device that found nothing may say so with nothing."""
        payload = await self._devices.call(uid, messages.WifiScan(), wake=wake, timeout=timeout)
        return messages.WifiNetworks.decode(payload).networks if payload else ()

    async def join(self, uid: str, network: Network, *, wake: bool = True) -> None:
        """Join a network. A device without a wire may be gone afterwards."""
        await self.need(uid, wake=wake)
        request = messages.WifiSet(network.ssid, network.key, network.country_code)
        await self._devices.call(uid, request, wake=wake)

    async def test(self, uid: str, network: Network, timeout: float, *, wake: bool = True) -> None:
        """Try a network without joining it; a device that cannot join answers with an error. See `need_wire`."""
        request = messages.WifiTest(network.ssid, network.key, network.country_code)
        await self._devices.call(uid, request, wake=wake, timeout=timeout)

    async def need_wire(self, uid: str, *, wake: bool = True) -> None:
        """Refuse a device without WiFi, or that does not use its wired network: it could not be asked any more."""
        await self.need(uid, wake=wake)
        link = self._devices.link(uid)
        if link is None or not link.wired:
            raise CallError("device_offline" if link is None else "cmd_not_support")

    async def need(self, uid: str, *, wake: bool = True) -> None:
        """Refuse a device without WiFi on channel 0."""
        channel = (await self._devices.support(uid, wake=wake)).channel(0)
        if channel is None or not channel.wifi_mode:
            raise CallError("cmd_not_support")
