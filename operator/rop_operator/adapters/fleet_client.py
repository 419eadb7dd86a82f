"""A server known only by its client API (61009), the vendor's own say: polled, with what that can tell."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rop_operator.adapters.fleet_management import device_facts, refusal, session_end
from rop_operator.adapters.fleet_transport import Transport
from rop_operator.api.facts import (
    BackupRunFacts,
    DeviceFacts,
    FirmwareFacts,
    FleetEvent,
    RotationFacts,
    ServerFacts,
    Session,
    SettingFact,
    WriteResult,
)
from rop_operator.api.questions import Question
from rop_operator.domain.plan import MakeArchive, RotateStep, StartUpgrade
from rop_operator.ports import PortError

PIR = ("enabled", "sensitivity", "reduceMistakes")
GROUPS = ("displayName", "pir", "alarm")
MISSING = "the server's client API (61009) does not offer this: it needs the management interface"


class ClientServer:
    """A `Server` reached through 61009. Claims, access, configuration and sleeping devices are out of its reach.

    Source: ROP v1.0 wire specification, client-api 2.1-2.8.
    """

    def __init__(self, transport: Transport, poll_seconds: float = 5.0) -> None:
        self._transport = transport
        self._poll = poll_seconds
        self._known: dict[str, DeviceFacts] = {}

    async def observe(self, expected: Mapping[str, Any], backup: Mapping[str, Any] | None = None) -> ServerFacts:
        """Reachable or not; configuration and identity stay unknown."""
        try:
            await self._call("GET", "/v1.0/devices")
        except PortError as error:
            return ServerFacts(
                interface="ClientAPI", reachable=False, error=error.message, error_reason=error.reason
            )
        return ServerFacts(interface="ClientAPI", reachable=True, ready=True, features=("settings",))

    async def devices(self) -> Sequence[DeviceFacts]:
        """Devices connected now, and those seen before as Offline. A battery device counts as Asleep: asking
        would wake it.
        """
        answer = await self._call("GET", "/v1.0/devices")
        now = datetime.now(UTC)
        online: dict[str, DeviceFacts] = {}
        for item in answer.get("items", ()):
            uid = item.get("uid")
            before = self._known.get(uid)
            state = "Asleep" if item.get("family") == "battery" else "Online"
            facts = device_facts({**item, "state": state})
            if facts is None:
                continue
            battery = await self._battery(uid) if state == "Asleep" else None
            online[uid] = facts.model_copy(
                update={
                    "first_seen": before.first_seen if before else now,
                    "last_seen": now,
                    "since": before.since if before and before.state == state else now,
                    "battery": battery,
                    "settings": before.settings if before else {},
                }
            )
        for uid, before in self._known.items():
            if uid not in online:
                since = before.since if before.state == "Offline" else now
                online[uid] = before.model_copy(update={"state": "Offline", "since": since})
        self._known = online
        return list(online.values())

    async def _battery(self, uid: str) -> Any:
        try:
            answer = await self._call("GET", f"/v1.0/devices/{uid}/states/battery")
        except PortError:
            return None
        facts = device_facts(
            {"uid": uid, "battery": {"percent": answer.get("percent"), "charge": answer.get("chargeStatus")}}
        )
        return facts.battery if facts else None

    async def events(self) -> AsyncIterator[FleetEvent | None]:
        """A poll tick each time: the interface has no stream."""
        while True:
            await asyncio.sleep(self._poll)
            yield None

    async def take_management(self, manager: str, take_over: bool) -> int:
        """Not offered."""
        raise PortError("NotSupported", MISSING)

    async def apply_config(self, members: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        """Not offered."""
        raise PortError("NotSupported", MISSING)

    async def apply_backup(self, policy: Mapping[str, Any]) -> None:
        """Not offered."""
        raise PortError("NotSupported", MISSING)

    async def replace_labels(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        """Not offered."""
        raise PortError("NotSupported", MISSING)

    async def claim(self, policy: str, uids: Sequence[str]) -> None:
        """Not offered."""
        raise PortError("NotSupported", MISSING)

    async def set_access(self, uid: str, access: str) -> DeviceFacts:
        """Not offered."""
        raise PortError("NotSupported", MISSING)

    async def settings(self, uid: str, write: Mapping[str, Any], read: Sequence[str], wake: bool) -> WriteResult:
        """Group by group through the settings calls; PIR is read, changed and written as a whole."""
        known = self._known.get(uid)
        if known is None or known.state == "Offline":
            raise PortError("DeviceOffline", "the device is offline")
        if known.state == "Asleep" and not wake:
            raise PortError("DeviceAsleep", "the device sleeps")
        values: dict[str, Any] = {}
        errors: dict[str, str] = {}
        written: list[str] = []
        for group in GROUPS:
            wanted = {f: v for f, v in write.items() if f.split(".")[0] == group}
            asked = any(field.split(".")[0] == group for field in read)
            if wanted or asked:
                try:
                    values |= await self._group(group)(uid, wanted, asked)
                    written += wanted
                except PortError as error:
                    if error.reason in ("Unreachable", "DeviceOffline"):
                        raise
                    errors |= dict.fromkeys(wanted or [group], error.reason)
        self._remember(uid, values)
        return WriteResult(known.state == "Asleep", tuple(written), values, errors)

    def _group(self, group: str) -> Callable[[str, Mapping[str, Any], bool], Awaitable[dict[str, Any]]]:
        return {"displayName": self._name, "pir": self._pir, "alarm": self._alarm}[group]

    async def _name(self, uid: str, wanted: Mapping[str, Any], asked: bool) -> dict[str, Any]:
        path = f"/v1.0/devices/{uid}/settings/general-config"
        if wanted:
            await self._call("PUT", path, {"deviceName": wanted["displayName"]})
            return dict(wanted)
        return {"displayName": (await self._call("GET", path)).get("deviceName")}

    async def _pir(self, uid: str, wanted: Mapping[str, Any], asked: bool) -> dict[str, Any]:
        path = f"/v1.0/devices/{uid}/settings/pir-config"
        now = dict(await self._call("GET", path))
        if wanted:
            now |= {field.split(".")[1]: value for field, value in wanted.items()}
            await self._call("PUT", path, {member: now.get(member) for member in PIR})
        return {f"pir.{member}": now.get(member) for member in PIR}

    async def _alarm(self, uid: str, wanted: Mapping[str, Any], asked: bool) -> dict[str, Any]:
        path = f"/v1.0/devices/{uid}/settings/alarm"
        if wanted:
            await self._call("PUT", path, {"enabled": wanted["alarm.enabled"]})
            return dict(wanted)
        return {"alarm.enabled": (await self._call("GET", path)).get("enabled")}

    def _remember(self, uid: str, values: Mapping[str, Any]) -> None:
        at = datetime.now(UTC)
        facts = {field: SettingFact(value=value, at=at) for field, value in values.items()}
        known = self._known[uid]
        self._known[uid] = known.model_copy(update={"settings": {**known.settings, **facts}})

    async def initialization_session(self, uid: str) -> Session:
        """A session; the interface does not tell the life of its code, 60 s is the documented one."""
        document = await self._call("POST", "/v1.0/devices/initialization-session", {"uid": uid})
        return Session(uid, document, expires_at=session_end(None))

    async def pki(self) -> Mapping[str, Any]:
        """PortError `NotSupported`."""
        raise PortError("NotSupported", MISSING)

    async def approve_renewal(self, uid: str, seconds: float) -> Mapping[str, Any]:
        """PortError `NotSupported`."""
        raise PortError("NotSupported", MISSING)

    async def ask(self, question: Question) -> Mapping[str, Any]:
        """Not by this interface."""
        raise PortError("NotSupported", MISSING)

    async def rotations(self) -> Sequence[RotationFacts]:
        """The client interface knows of none."""
        return ()

    async def rotate(self, order: RotateStep) -> RotationFacts:
        """PortError `NotSupported`."""
        raise PortError("NotSupported", MISSING)

    async def firmware(self) -> FirmwareFacts:
        """Not offered: it knows neither hashes nor holds."""
        raise PortError("NotSupported", MISSING)

    async def put_firmware(self, name: str, sha256: str, file: Path) -> None:
        """Not offered."""
        raise PortError("NotSupported", MISSING)

    async def hold_upgrades(self, holder: str, uids: Sequence[str], seconds: int) -> None:
        """Not offered."""
        raise PortError("NotSupported", MISSING)

    async def start_upgrade(self, order: StartUpgrade) -> None:
        """Not offered."""
        raise PortError("NotSupported", MISSING)

    async def backup_run(self, id_: str) -> BackupRunFacts | None:
        """The client interface knows of none."""
        return None

    async def make_archive(self, order: MakeArchive) -> BackupRunFacts:
        """PortError `NotSupported`."""
        raise PortError("NotSupported", MISSING)

    async def close(self) -> None:
        """Release connections."""
        await self._transport.close()

    async def _call(self, method: str, path: str, body: Any = None) -> Mapping[str, Any]:
        status, answer = await self._transport.call(method, path, body=body)
        if status == 200 and isinstance(answer, dict):
            return answer
        raise refusal(status, answer, self._transport.where)
