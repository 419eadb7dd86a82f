"""Settings of a device in one go: validate, write, read; one wake at most, PIR as read-modify-write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from rop_server.core.facade import CallError, Devices, Request
from rop_server.core.wifi import Wifi
from rop_server.manage.errors import invalid
from rop_wire import messages
from rop_wire.errors import WireError

PIR = ("pir.enabled", "pir.sensitivity", "pir.reduceMistakes")
FIELDS = ("displayName", *PIR, "alarm.enabled")
# Read only here; joining a network is an operation of its own.
WIFI = ("wifi.ssid", "wifi.countryCode")
READABLE = (*FIELDS, *WIFI)
GROUPS: Mapping[str, tuple[str, ...]] = {"pir": PIR, "alarm": ("alarm.enabled",), "wifi": WIFI, "all": FIELDS}
# After one of these no further command of the same request can succeed.
LINK_LOST = frozenset(
    {
        "device_offline",
        "device_asleep",
        "wake_up_timeout",
        "device_connection_not_found",
        "device_signaling_connection_closed",
    }
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A validated request: values by field, fields to read."""

    write: Mapping[str, Any]
    read: tuple[str, ...]


@dataclass(slots=True)
class Outcome:
    """What became of it: fields written, values known afterwards, symbol per failed field."""

    written: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_percent(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100


def _is_name(value: object) -> bool:
    return isinstance(value, str) and messages.DEVICE_NAME.fullmatch(value) is not None


_RULES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "displayName": (_is_name, "must be 1-31 letters, digits, hyphens, blanks, no blank at either end"),
    "pir.enabled": (_is_bool, "must be true or false"),
    "pir.sensitivity": (_is_percent, "must be a whole number from 0 to 100"),
    "pir.reduceMistakes": (_is_bool, "must be true or false"),
    "alarm.enabled": (_is_bool, "must be true or false"),
}


def validate(write: object, read: object) -> Wanted:
    """Check both members of the body. Raises `invalid_parameter` with the field."""
    if not isinstance(write, dict):
        raise invalid("write", "must be an object of field and value")
    for name, value in write.items():
        if name not in _RULES:
            raise invalid(f"write.{name}", f"unknown field, known are {', '.join(FIELDS)}")
        accepts, rule = _RULES[name]
        if not accepts(value):
            raise invalid(f"write.{name}", rule)
    if not isinstance(read, list):
        raise invalid("read", "must be a list of fields or groups")
    fields: list[str] = []
    for index, name in enumerate(read):
        if not isinstance(name, str) or (name not in READABLE and name not in GROUPS):
            raise invalid(f"read[{index}]", f"must be one of {', '.join((*READABLE, *GROUPS))}")
        fields.extend(GROUPS.get(name, (name,)))
    return Wanted(write, tuple(dict.fromkeys(fields)))


class DeviceSettings:
    """Performs settings requests. Requests to one device wait for each other, so PIR changes cannot be lost."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def perform(self, uid: str, wanted: Wanted, wake: bool) -> Outcome:
        """Write, then read. Raises `CallError` when the device cannot be reached and nothing was done."""
        async with self._alone(uid):
            link = self._devices.link(uid)
            if link is None:
                raise CallError("device_offline")
            if link.asleep and not wake:
                raise CallError("device_asleep")
            run = _Run(self._devices, uid, wake)
            await run.write(wanted.write)
            await run.read(wanted.read)
        outcome = run.outcome
        # Gone between the check above and the first command: the whole request failed.
        if run.lost in {"device_offline", "device_asleep"} and not outcome.written and not outcome.values:
            raise CallError(run.lost)
        return outcome

    @asynccontextmanager
    async def _alone(self, uid: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(uid, (asyncio.Lock(), 0))
        self._locks[uid] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[uid]
            if users == 1:
                del self._locks[uid]
            else:
                self._locks[uid] = (lock, users - 1)


class _Run:
    """One request to one device."""

    def __init__(self, devices: Devices, uid: str, wake: bool) -> None:
        self._devices = devices
        self._uid = uid
        self._wake = wake
        self._wifi = Wifi(devices)
        self.outcome = Outcome()
        self.lost: str | None = None

    async def write(self, wanted: Mapping[str, Any]) -> None:
        """Write every field that is wanted."""
        if "displayName" in wanted:
            await self._write(("displayName",), wanted, messages.GeneralConfigSet(wanted["displayName"]))
        pir = [name for name in PIR if name in wanted]
        if pir:
            request = await self._pir_request(pir, wanted)
            if request is not None:
                await self._write(pir, wanted, request)
        if "alarm.enabled" in wanted:
            await self._write(("alarm.enabled",), wanted, messages.AlarmSwitchSet(wanted["alarm.enabled"]))

    async def read(self, fields: Sequence[str]) -> None:
        """Read every field that is wanted; a failed write of a field stays reported."""
        if "displayName" in fields:
            payload = await self._ask(("displayName",), messages.GeneralConfigGet())
            if payload is not None:
                self._keep("displayName", payload, _name_in)
        pir = [name for name in PIR if name in fields]
        if pir:
            config = await self._pir(pir)
            if config is not None:
                known = dict(zip(PIR, _members(config), strict=True))
                self.outcome.values.update({name: known[name] for name in pir})
        if "alarm.enabled" in fields:
            payload = await self._ask(("alarm.enabled",), messages.AlarmSwitchGet())
            if payload is not None:
                self._keep("alarm.enabled", payload, _alarm_in)
        wifi = [name for name in WIFI if name in fields]
        if wifi:
            await self._read_wifi(wifi)

    async def _read_wifi(self, fields: Sequence[str]) -> None:
        if self.lost is not None:
            self._fail(fields, self.lost)
            return
        try:
            told = await self._wifi.in_use(self._uid, wake=self._wake)
        except CallError as error:
            self._failed(fields, error)
        except WireError:
            self._fail(fields, "server_internal_error")
        else:
            known = {"wifi.ssid": told.ssid, "wifi.countryCode": told.country_code}
            self.outcome.values.update({name: known[name] for name in fields})

    async def _pir_request(self, fields: Sequence[str], wanted: Mapping[str, Any]) -> messages.PirSet | None:
        """The whole PIR document: what is wanted, over what the device has."""
        if len(fields) == len(PIR):
            values = dict(wanted)
        else:
            config = await self._pir(fields)
            if config is None:
                return None
            values = dict(zip(PIR, _members(config), strict=True)) | {name: wanted[name] for name in fields}
        sensitivity = values["pir.sensitivity"]
        if not _is_percent(sensitivity):  # the device told no number, and none is wanted
            self._fail(fields, "cmd_exec_error")
            return None
        return messages.PirSet(values["pir.enabled"], sensitivity, values["pir.reduceMistakes"])

    async def _pir(self, fields: Sequence[str]) -> messages.PirConfig | None:
        payload = await self._ask(fields, messages.PirGet())
        if payload is None:
            return None
        try:
            return messages.PirConfig.decode(payload)
        except WireError:
            self._fail(fields, "server_internal_error")
            return None

    async def _write(self, fields: Sequence[str], wanted: Mapping[str, Any], request: Request) -> None:
        if await self._call(fields, request) is not None:
            self.outcome.written.extend(fields)
            self.outcome.values.update({name: wanted[name] for name in fields})

    async def _ask(self, fields: Sequence[str], request: Request) -> bytes | None:
        payload = await self._call(fields, request)
        if payload == b"":
            self._fail(fields, "cmd_exec_error")
            return None
        return payload

    async def _call(self, fields: Sequence[str], request: Request) -> bytes | None:
        if self.lost is not None:
            self._fail(fields, self.lost)
            return None
        try:
            return await self._devices.call(self._uid, request, wake=self._wake)
        except CallError as error:
            self._failed(fields, error)
            return None

    def _failed(self, fields: Sequence[str], error: CallError) -> None:
        if error.symbol in LINK_LOST:
            self.lost = error.symbol
        self._fail(fields, error.symbol)

    def _keep(self, name: str, payload: bytes, decode: Callable[[bytes], Any]) -> None:
        try:
            self.outcome.values[name] = decode(payload)
        except WireError:
            self._fail((name,), "server_internal_error")

    def _fail(self, fields: Sequence[str], symbol: str) -> None:
        for name in fields:
            self.outcome.errors.setdefault(name, symbol)


def _members(config: messages.PirConfig) -> tuple[bool, int | None, bool]:
    return config.enabled, config.sensitivity_percent, config.reduce_mistakes


def _name_in(payload: bytes) -> str | None:
    return messages.GeneralConfig.decode(payload).device_name


def _alarm_in(payload: bytes) -> bool:
    return messages.AlarmSwitch.decode(payload).enabled
