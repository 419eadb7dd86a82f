"""The operations on the WiFi of devices. The key is in no answer, error or log line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from aiohttp import web

from rop_server.core.facade import CallError, Devices
from rop_server.core.scans import Scans
from rop_server.core.wifi import MAX_BYTES, Network, Wifi, is_country, is_text
from rop_server.manage.body import read_object, uid_of
from rop_server.manage.control import Control
from rop_server.manage.errors import device_refusal, invalid
from rop_server.manage.handlers import may_wake, reply
from rop_server.state.book import FactsBook
from rop_server.state.record import rfc3339
from rop_wire.errors import WireError

# These say nothing of the network that was tried.
_UNTRIED = frozenset(
    {
        "cmd_timeout",
        "device_offline",
        "device_asleep",
        "wake_up_timeout",
        "device_connection_not_found",
        "device_signaling_connection_closed",
    }
)


class WifiOperations:
    """Scan, test, join."""

    def __init__(self, devices: Devices, book: FactsBook, control: Control, scans: Scans) -> None:
        self._devices = devices
        self._book = book
        self._control = control
        self._wifi = Wifi(devices)
        self._scans = scans

    async def scan_wifi(self, request: web.Request) -> web.Response:
        """The networks around a device."""
        uid, wake = self._awake(request)
        before = self._wakes(uid)
        await _asked(self._wifi.need(uid, wake=wake))
        config = self._control.config()
        life = float(config.get("wifiSessionTTL"))
        scan = self._scans.start(uid, life, config.seconds("wifi.scanWifiTimeout"), wake=wake)
        if scan.task is not None:
            await asyncio.shield(scan.task)
        if scan.status != "success":
            raise device_refusal(CallError(scan.symbol))
        found = [{"ssid": each.ssid, "signal": each.signal, "encrypted": each.encrypted} for each in scan.networks]
        return reply({"woke": self._wakes(uid) > before, "networks": found})

    async def test_wifi(self, request: web.Request) -> web.Response:
        """Try a network."""
        network = await _network(request)
        uid, wake = self._awake(request)
        await _asked(self._wifi.need_wire(uid, wake=wake))
        limit = self._control.config().seconds("wifi.testWifiTimeout")
        try:
            await self._wifi.test(uid, network, limit, wake=wake)
        except CallError as error:
            if error.symbol in _UNTRIED:
                raise device_refusal(error) from None
            return reply({"usable": False})
        except WireError:
            return reply({"usable": False})
        return reply({"usable": True})

    async def join_wifi(self, request: web.Request) -> web.Response:
        """Join a network."""
        network = await _network(request)
        uid, wake = self._awake(request)
        before = self._wakes(uid)
        await _asked(self._wifi.join(uid, network, wake=wake))
        record = self._book.record(uid)
        connected = None if record is None else rfc3339(record.connected_at)
        return reply({"woke": self._wakes(uid) > before, "connectedAt": connected})

    def _awake(self, request: web.Request) -> tuple[str, bool]:
        """UID, and whether it may be woken. Refuses a device that is not there, or asleep and to be left so."""
        uid, wake = uid_of(request.match_info["uid"]), may_wake(request)
        link = self._devices.link(uid)
        if link is None:
            raise device_refusal(CallError("device_offline"))
        if link.asleep and not wake:
            raise device_refusal(CallError("device_asleep"))
        return uid, wake

    def _wakes(self, uid: str) -> int:
        record = self._book.record(uid)
        return 0 if record is None else record.wakes


async def _asked(call: Awaitable[None]) -> None:
    """A call to a device; its failure becomes the answer."""
    try:
        await call
    except CallError as error:
        raise device_refusal(error) from None
    except WireError:
        raise device_refusal(CallError("cmd_exec_error", "the device's answer cannot be read")) from None


async def _network(request: web.Request) -> Network:
    """The network of a request; no error repeats the key."""
    body = await read_object(request, "ssid", "key", "countryCode")
    ssid, key, country = body.get("ssid"), body.get("key"), body.get("countryCode")
    for name, value, low in (("ssid", ssid, 1), ("key", key, 0)):
        if not is_text(value, low):
            raise invalid(
                name, f"must be text of {low} to {MAX_BYTES} bytes without control characters, \\, ` and ~"
            )
    if not is_country(country):
        raise invalid("countryCode", "must be two capital letters")
    return Network(str(ssid), str(key), str(country))
