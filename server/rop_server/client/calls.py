"""The calls of the client API, one method each: path parameters, then body, then the device.

Source: ROP v1.0 wire specification, client-api 2.1, 2.2, 2.4, 2.5, 2.6, 2.8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rop_data.config import Config
from rop_server.client import validation
from rop_server.client.errors import ClientError
from rop_server.client.exchange import OK, Answer, Asked, Calls, JsonCall, encode, json_call
from rop_server.core.facade import DeviceLink, Devices, Request
from rop_server.session import session_document
from rop_wire import messages


async def ask(devices: Devices, uid: str, request: Request, timeout: float | None = None) -> bytes:
    """The answer of a `get` command, which must carry a document. Raises `CallError`, `ClientError`."""
    payload = await devices.call(uid, request, timeout=timeout)
    if not payload:
        raise ClientError("cmd_exec_error", "empty answer")
    return payload


class DeviceCalls:
    """The endpoints that need the core."""

    def __init__(
        self,
        devices: Devices,
        config: Callable[[], Config],
        ca_hash: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self._devices = devices
        self._config = config
        self._ca_hash = ca_hash
        self._clock = clock
        self._listed: tuple[int, bytes] | None = None

    def calls(self) -> Calls:
        """Every call by its operation."""
        calls: dict[str, JsonCall] = {
            "get_general": self.get_general,
            "put_general": self.put_general,
            "get_pir": self.get_pir,
            "put_pir": self.put_pir,
            "get_alarm": self.get_alarm,
            "put_alarm": self.put_alarm,
            "get_battery": self.get_battery,
        }
        here: Calls = {"initialization_session": self.initialization_session, "list_devices": self.list_devices}
        return {**here, **{name: json_call(call) for name, call in calls.items()}}

    async def initialization_session(self, asked: Asked) -> Answer:
        """A code for one UID, and where to go with it."""
        uid = validation.uid(validation.json_object(await asked.body()).get("uid"))
        if not asked.sees(uid):
            raise ClientError("auth_failed")
        issued = self._devices.issue_code(uid)
        return Answer(encode(session_document(issued, self._config(), self._ca_hash(), self._clock())))

    async def list_devices(self, asked: Asked) -> Answer:
        """The connected devices, as far as the caller sees them."""
        await asked.body()
        if asked.caller is not None:
            return Answer(_list(link for link in self._devices.online() if asked.sees(link.uid)))
        return Answer(self._everything())

    def _everything(self) -> bytes:
        """The whole list; the text is kept until the list changes."""
        revision = self._devices.revision
        if self._listed is None or self._listed[0] != revision:
            self._listed = (revision, _list(self._devices.online()))
        return self._listed[1]

    async def get_general(self, path: dict[str, str], _body: bytes) -> bytes:
        """The device name."""
        uid = validation.uid(path["uid"])
        told = messages.GeneralConfig.decode(await self._ask(uid, messages.GeneralConfigGet()))
        return encode({} if told.device_name is None else {"deviceName": told.device_name})

    async def put_general(self, path: dict[str, str], body: bytes) -> bytes:
        """Set the device name."""
        uid = validation.uid(path["uid"])
        name = validation.device_name(validation.json_object(body).get("deviceName"))
        await self._devices.call(uid, messages.GeneralConfigSet(name))
        return OK

    async def get_pir(self, path: dict[str, str], _body: bytes) -> bytes:
        """The PIR configuration."""
        uid = validation.uid(path["uid"])
        told = messages.PirConfig.decode(await self._ask(uid, messages.PirGet()))
        return encode(
            {
                "sensitivity": told.sensitivity_percent,
                "enabled": told.enabled,
                "reduceMistakes": told.reduce_mistakes,
            }
        )

    async def put_pir(self, path: dict[str, str], body: bytes) -> bytes:
        """Set the whole PIR configuration."""
        uid = validation.uid(path["uid"])
        document = validation.json_object(body)
        enabled = validation.boolean(document.get("enabled"), "enabled")
        sensitivity = validation.uint(document.get("sensitivity"), "sensitivity", 0, 100)
        reduce = validation.boolean(document.get("reduceMistakes"), "reduceMistakes")
        await self._devices.call(uid, messages.PirSet(enabled, sensitivity, reduce))
        return OK

    async def get_alarm(self, path: dict[str, str], _body: bytes) -> bytes:
        """Whether the device reports alarms."""
        uid = validation.uid(path["uid"])
        told = messages.AlarmSwitch.decode(await self._ask(uid, messages.AlarmSwitchGet()))
        return encode({"enabled": told.enabled})

    async def put_alarm(self, path: dict[str, str], body: bytes) -> bytes:
        """Switch the alarm reports. The UID is not validated here: a malformed one is offline (client-api 2.6)."""
        enabled = validation.boolean(validation.json_object(body).get("enabled"), "enabled")
        await self._devices.call(path["uid"], messages.AlarmSwitchSet(enabled))
        return OK

    async def get_battery(self, path: dict[str, str], _body: bytes) -> bytes:
        """The last battery report; no device contact."""
        link = self._devices.link(validation.uid(path["uid"]))
        if link is None:
            raise ClientError("device_offline")
        battery = link.battery
        if battery is None or not link.keep_alive:
            raise ClientError("cmd_not_support")
        document: dict[str, Any] = {"percent": battery.percent}
        if battery.charge is not None:
            document["chargeStatus"] = battery.charge
        return encode(document)

    async def _ask(self, uid: str, request: Request) -> bytes:
        return await ask(self._devices, uid, request)


def _list(links: Iterable[DeviceLink]) -> bytes:
    items = [_listed(link) for link in links]
    return encode({"totalRows": len(items), "items": items})


def _listed(link: DeviceLink) -> dict[str, str]:
    told = {"family": link.family, "uid": link.uid, "model": link.model, "firmware": link.firmware}
    return {name: value for name, value in told.items() if value is not None}
