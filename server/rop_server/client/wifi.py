"""WiFi of a device: in use, set, networks around, test.

Source: ROP v1.0 wire specification, client-api 2.15; discrepancies A6, A7, B12, B29.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rop_data.config import Config
from rop_server.client import validation
from rop_server.client.exchange import OK, Calls, encode, json_call
from rop_server.core.facade import CallError
from rop_server.core.scans import Scans
from rop_server.core.wifi import Network, Wifi
from rop_wire import messages
from rop_wire.errors import WireError

_ENCRYPT_MODES = {False: "none", True: "auto"}


class WifiCalls:
    """The WiFi calls; all but the result of a scan need a device with WiFi on channel 0."""

    def __init__(self, wifi: Wifi, config: Callable[[], Config], scans: Scans) -> None:
        self._wifi = wifi
        self._config = config
        self._scans = scans

    def calls(self) -> Calls:
        """Every call by its operation."""
        return {
            "get_wifi": json_call(self.get_config),
            "put_wifi": json_call(self.put_config),
            "scan_wifi": json_call(self.scan),
            "wifi_networks": json_call(self.result),
            "try_wifi": json_call(self.test),
        }

    async def get_config(self, path: dict[str, str], _body: bytes) -> bytes:
        """The WiFi in use."""
        told = await self._wifi.in_use(validation.uid(path["uid"]))
        document: dict[str, Any] = {"ssid": told.ssid, "channel": told.channel}
        if told.country_code is not None:
            document["countryCode"] = told.country_code
        return encode(document)

    async def put_config(self, path: dict[str, str], body: bytes) -> bytes:
        """Join a network."""
        uid, network = _network(path, body)
        await self._wifi.join(uid, network)
        return OK

    async def scan(self, path: dict[str, str], _body: bytes) -> bytes:
        """Look for networks in the background."""
        uid = validation.uid(path["uid"])
        await self._wifi.need(uid)
        config = self._config()
        # Seconds, unlike the other durations of the configuration.
        life = float(config.get("wifiSessionTTL"))
        scan = self._scans.start(uid, life, config.seconds("wifi.scanWifiTimeout"))
        return encode({"sessionId": scan.id, "expiringAt": round(scan.expires_at * 1000)})

    async def result(self, path: dict[str, str], _body: bytes) -> bytes:
        """What a scan found so far."""
        uid = validation.uid(path["uid"])
        session_id = validation.text(path["session-id"], "session-id", 32, 32)
        found = self._scans.find(uid, session_id)
        return encode({"status": found.status, "wifiList": [_listed(each) for each in found.networks]})

    async def test(self, path: dict[str, str], body: bytes) -> bytes:
        """Try a network without joining it; only a device with a wire can."""
        uid, network = _network(path, body)
        await self._wifi.need_wire(uid)
        try:
            await self._wifi.test(uid, network, self._config().seconds("wifi.testWifiTimeout"))
        except CallError as error:
            if error.symbol == "cmd_timeout":
                raise
            return encode({"status": "error"})
        except WireError:
            return encode({"status": "error"})
        return encode({"status": "success"})


def _network(path: dict[str, str], body: bytes) -> tuple[str, Network]:
    """UID and network of a request."""
    uid = validation.uid(path["uid"])
    document = validation.json_object(body)
    ssid = validation.wifi_text(document.get("ssid"), "ssid", 1)
    key = validation.wifi_text(document.get("key"), "key", 0)
    return uid, Network(ssid, key, validation.country(document.get("countryCode")))


def _listed(network: messages.WifiNetwork) -> dict[str, Any]:
    told: dict[str, Any] = {"ssid": network.ssid}
    if network.signal is not None:
        told["signal"] = network.signal
    if network.encrypted is not None:
        told["encryptMode"] = _ENCRYPT_MODES[network.encrypted]
    return told
