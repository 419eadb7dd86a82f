"""Client of the management interface `/manage/v1`: everything the engine does with a server of ours."""

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from rop_operator.adapters.fleet_questions import asked
from rop_operator.adapters.fleet_transport import Transport, decoded
from rop_operator.api.facts import (
    BackupFacts,
    BackupRunFacts,
    DeviceFacts,
    FirmwareFacts,
    FleetEvent,
    GatewayFacts,
    RotationFacts,
    ServerFacts,
    Session,
    UpgradeFacts,
    WriteResult,
)
from rop_operator.api.questions import Question
from rop_operator.domain.plan import MakeArchive, RotateStep, StartUpgrade
from rop_operator.ports import PortError

ROOT = "/manage/v1"
POLL_SECONDS = 50
CODE_SECONDS = 60.0
DEVICE_CALL_TIMEOUT = 75.0
# An archive on a slow target.
QUESTION_TIMEOUT = 120.0
# A file of firmware over a slow line.
FILE_TIMEOUT = 1800.0


class ManagementServer:
    """A `Server` reached through its management interface. See `rop_operator.ports.Server`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._manager: str | None = None
        self._fence: int | None = None
        self._epoch = ""
        self._next = 0

    async def observe(self, expected: Mapping[str, Any], backup: Mapping[str, Any] | None = None) -> ServerFacts:
        """Identity, readiness, configuration and backups in one value."""
        try:
            identity = await self._get("/identity")
            _, ready = await self._transport.call("GET", f"{ROOT}/ready")
            config = await self._get("/config")
            differs = await self._compare(expected)
            features = identity.get("features") or ()
            kept = await self._backup(backup) if "backup" in features else None
            gateway = await self._get("/gateway") if "gateway" in features else None
        except PortError as error:
            return ServerFacts(
                interface="Management", reachable=False, error=error.message, error_reason=error.reason
            )
        facts = self._facts(identity, ready or {}, config, differs, kept)
        return facts.model_copy(update={"gateway": gateway_facts(gateway)})

    def _facts(
        self,
        identity: Mapping[str, Any],
        ready: Mapping[str, Any],
        config: Mapping[str, Any],
        differs: Sequence[str],
        backup: Mapping[str, Any] | None,
    ) -> ServerFacts:
        certificate = identity.get("serverCertificate") or {}
        manager = identity.get("manager") or {}
        pending = config.get("pendingRestart") or identity.get("pendingRestart") or ()
        try:
            return ServerFacts(
                interface="Management",
                reachable=True,
                instance_id=identity.get("instanceID"),
                host=identity.get("host"),
                version=identity.get("version"),
                root_sha256=identity.get("rootSHA256"),
                adopted=bool(identity.get("adopted")),
                ready=bool(ready.get("ready")),
                ports=identity.get("ports") or {},
                server_certificate_not_after=certificate.get("notAfter"),
                manager_id=manager.get("id"),
                fence=self._held_fence(manager),
                config=config.get("members") or {},
                config_differs=tuple(sorted(differs)),
                config_file_changed=bool(config.get("fileChanged")),
                pending_restart=tuple(pending),
                features=tuple(identity.get("features") or ()),
                backup=BackupFacts.model_validate(backup) if backup is not None else None,
            )
        except ValidationError as error:
            raise PortError("Unreachable", f"{self._transport.where}: unexpected identity document") from error

    def _held_fence(self, manager: Mapping[str, Any]) -> int | None:
        """Our fence while it is still the recorded one, else None: management must be taken (again)."""
        if self._fence is not None and manager.get("id") == self._manager and manager.get("fence") == self._fence:
            return self._fence
        return None

    async def _compare(self, expected: Mapping[str, Any]) -> list[str]:
        if not expected:
            return []
        answer = await self._post("/config/compare", dict(expected))
        return [member for member in expected if answer.get(member) is not True]

    async def _backup(self, policy: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """What the server tells of its backups. A policy that it does not even read differs."""
        told = await self._get("/backup")
        differs = False
        if policy is not None:
            try:
                differs = (await self._post("/backup/compare", {"policy": dict(policy)})).get("same") is not True
            except PortError as error:
                if error.reason != "InvalidConfig":
                    raise
                differs = True
        return {**told, "configured": told.get("policy") is not None, "differs": differs}

    async def devices(self) -> Sequence[DeviceFacts]:
        """The whole list; the event cursor starts at it."""
        answer = await self._get("/devices")
        self._epoch, self._next = str(answer.get("epoch", "")), int(answer.get("next", 0))
        return [facts for item in answer.get("items", ()) if (facts := device_facts(item)) is not None]

    async def events(self) -> AsyncIterator[FleetEvent | None]:
        """Long polls after the cursor; None when the server says that the cursor is of another time."""
        while True:
            query: dict[str, str | int] = {"since": self._next, "epoch": self._epoch, "wait": POLL_SECONDS}
            answer = await self._call("GET", "/events", query=query, timeout=POLL_SECONDS + 15)
            if answer.get("reset"):
                yield None
                continue
            for item in answer.get("items", ()):
                yield fleet_event(item)
            self._next = int(answer.get("next", self._next))

    async def take_management(self, manager: str, take_over: bool) -> int:
        """Become the manager; the fence goes with every later write."""
        answer = await self._call("PUT", "/manager", body={"id": manager, "takeOver": take_over})
        self._manager, self._fence = manager, int(answer["fence"])
        return self._fence

    async def act_for_manager(self) -> None:
        """Write in the name of the recorded manager, which stays it: for one call that a person asks for.

        PortError `Unmanaged` when the server has no manager yet.
        """
        manager = (await self._get("/identity")).get("manager") or {}
        if not manager.get("id"):
            raise PortError("Unmanaged", f"{self._transport.where} has no manager yet; apply its RopServer first")
        self._manager, self._fence = str(manager["id"]), int(manager.get("fence") or 0)

    async def apply_config(self, members: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        """Write members of the configuration."""
        answer = await self._write("PUT", "/config", {"members": dict(members)})
        return {key: list(answer.get(key) or ()) for key in ("applied", "restart", "unchanged")}

    async def apply_backup(self, policy: Mapping[str, Any]) -> None:
        """Set the backup policy."""
        await self._write("PUT", "/backup", {"policy": dict(policy)})

    async def replace_labels(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        """Replace the labels of all cameras."""
        await self._write("PUT", "/labels", {"labels": dict(labels)})

    async def claim(self, policy: str, uids: Sequence[str]) -> None:
        """Replace policy and claims."""
        await self._write("PUT", "/claims", {"policy": policy, "uids": sorted(uids)})

    async def set_access(self, uid: str, access: str) -> DeviceFacts:
        """Allow or deny; a denial is durable when this returns."""
        answer = await self._write("PUT", f"/devices/{uid}/access", {"access": access})
        return device_facts(answer) or DeviceFacts.model_validate({"uid": uid, "access": access})

    async def settings(self, uid: str, write: Mapping[str, Any], read: Sequence[str], wake: bool) -> WriteResult:
        """Write and read settings in one call, at most one wake."""
        answer = await self._write(
            "POST",
            f"/devices/{uid}/settings",
            {"write": dict(write), "read": list(read)},
            query={"wake": "allow" if wake else "never"},
            timeout=DEVICE_CALL_TIMEOUT,
        )
        return WriteResult(
            woke=bool(answer.get("woke")),
            written=tuple(answer.get("written") or ()),
            values=dict(answer.get("values") or {}),
            errors=dict(answer.get("errors") or {}),
        )

    async def initialization_session(self, uid: str) -> Session:
        """The session document with the end of its code."""
        answer = dict(await self._write("POST", f"/devices/{uid}/initialization-session", None))
        expires = answer.pop("expiresAt", None)
        return Session(uid, answer, expires_at=session_end(expires))

    async def pki(self) -> Mapping[str, Any]:
        """The authority and the census."""
        return await self._get("/pki")

    async def approve_renewal(self, uid: str, seconds: float) -> Mapping[str, Any]:
        """One renewal."""
        return await self._write("PUT", f"/devices/{uid}/renewal", {"seconds": seconds})

    async def ask(self, question: Question) -> Mapping[str, Any]:
        """One call of those that a person may make."""
        call = asked(question)
        if call.raw:
            status, raw = await self._transport.fetch(ROOT + call.path, call.query, QUESTION_TIMEOUT)
            if status != 200:
                raise refusal(status, decoded(raw), self._transport.where)
            return {"data": base64.b64encode(raw).decode()}
        send = self._write if call.fenced else self._call
        return await send(call.method, call.path, query=call.query, body=call.body, timeout=QUESTION_TIMEOUT)

    async def rotations(self) -> Sequence[RotationFacts]:
        """Every item; none for a server of an older program."""
        try:
            answer = await self._get("/rotations")
        except PortError as error:
            if error.reason in ("NotFound", "NotSupported"):
                return ()
            raise
        return [rotation_facts(item) for item in answer.get("items", ())]

    async def rotate(self, order: RotateStep) -> RotationFacts:
        """One step."""
        body = {
            "step": order.step,
            "toGeneration": order.generation,
            "canary": list(order.canary),
            "devicesPerMinute": order.devices_per_minute,
            "acknowledged": order.acknowledged,
        }
        plain = {name: value for name, value in body.items() if value is not None}
        answer = await self._write("POST", f"/rotations/{order.item}", plain, timeout=DEVICE_CALL_TIMEOUT)
        return rotation_facts(answer)

    async def firmware(self) -> FirmwareFacts:
        """Files, upgrades, holds."""
        files, upgrades = await self._get("/firmware"), await self._get("/upgrades")
        return firmware_facts(files, upgrades)

    async def put_firmware(self, name: str, sha256: str, file: Path) -> None:
        """The file as the body, read piece by piece."""
        query = {"sha256": sha256}
        await self._write("PUT", f"/firmware/{name}", file, query=query, timeout=FILE_TIMEOUT)

    async def hold_upgrades(self, holder: str, uids: Sequence[str], seconds: int) -> None:
        """Hold these and let go of the others."""
        body = {"holder": holder, "uids": list(uids), "seconds": seconds}
        await self._write("PUT", "/upgrades/holds", body)

    async def start_upgrade(self, order: StartUpgrade) -> None:
        """Begin one."""
        body = {"file": order.file, "sha256": order.sha256, "holder": order.holder}
        wake = {"wake": "allow" if order.wakes else "never"}
        path = f"/devices/{order.uid}/upgrade"
        await self._write(
            "POST", path, {**body, "factoryReset": order.factory_reset}, query=wake, timeout=DEVICE_CALL_TIMEOUT
        )

    async def backup_run(self, id_: str) -> BackupRunFacts | None:
        """A run by its id."""
        try:
            return BackupRunFacts.model_validate(await self._get(f"/backup/runs/{id_}"))
        except PortError as error:
            if error.reason == "RunUnknown":
                return None
            raise

    async def make_archive(self, order: MakeArchive) -> BackupRunFacts:
        """Ask for an archive; on the server's disk when this returns."""
        body: dict[str, Any] = {"id": order.id, "retain": order.retain}
        if order.targets:
            body["targets"] = list(order.targets)
        return BackupRunFacts.model_validate(await self._post("/backup/runs", body))

    async def close(self) -> None:
        """Release connections."""
        await self._transport.close()

    async def _get(self, path: str) -> Mapping[str, Any]:
        return await self._call("GET", path)

    async def _post(self, path: str, body: Any) -> Mapping[str, Any]:
        return await self._call("POST", path, body=body)

    async def _write(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        query: Mapping[str, str | int] | None = None,
        timeout: float | None = None,
    ) -> Mapping[str, Any]:
        if self._manager is None or self._fence is None:
            raise PortError("Fenced", "management of this server was not taken yet")
        return await self._call(
            method,
            path,
            query={**(query or {}), "fence": self._fence},
            body=body,
            headers={"Rop-Manager": self._manager},
            timeout=timeout,
        )

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Mapping[str, Any]:
        status, answer = await self._transport.call(
            method, ROOT + path, query=query, body=body, headers=headers, timeout=timeout
        )
        if 200 <= status < 300:
            return answer if isinstance(answer, dict) else {}
        raise refusal(status, answer, self._transport.where)


def refusal(status: int, answer: Any, where: str) -> PortError:
    """The PortError of an error document: `device_offline` becomes `DeviceOffline`."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict) and isinstance(error.get("symbol"), str):
        message = str(error.get("message") or error["symbol"])[:300]
        if error.get("field"):
            message = f"{str(error['field'])[:100]}: {message}"
        return PortError(camel_reason(error["symbol"]), message)
    if status in (401, 403):
        return PortError("Unauthorized", f"{where} refused the token")
    if status in (404, 405):
        return PortError("NotSupported", f"{where} does not offer this")
    return PortError("Unreachable", f"{where} answered with status {status}")


def camel_reason(symbol: str) -> str:
    """`device_offline` -> `DeviceOffline`; anything that is no symbol becomes `DeviceError`."""
    if not symbol.replace("_", "").isalnum() or not symbol.isascii() or len(symbol) > 64:
        return "DeviceError"
    camel = to_camel(symbol)
    return camel[:1].upper() + camel[1:]


def device_facts(item: Any) -> DeviceFacts | None:
    """A device document as facts; None for one that cannot be understood (a newer server, say)."""
    try:
        return DeviceFacts.model_validate(item)
    except ValidationError:
        return None


def rotation_facts(item: Mapping[str, Any]) -> RotationFacts:
    """A rotation as facts."""
    return RotationFacts(
        item=str(item.get("item")),
        generation=int(item.get("generation") or 0),
        target=item.get("target"),
        phase=str(item.get("phase") or "Idle"),
        done=int(item.get("done") or 0),
        total=int(item.get("total") or 0),
        detail=dict(item.get("detail") or {}),
    )


def gateway_facts(told: Mapping[str, Any] | None) -> GatewayFacts | None:
    """What a gateway reported last; None for a server that knows no gateways."""
    if told is None:
        return None
    status = told.get("status") or {}
    certificate = status.get("certificate") or {}
    try:
        return GatewayFacts.model_validate({**status, **certificate, "present": bool(told.get("present"))})
    except ValidationError:
        return GatewayFacts(present=bool(told.get("present")), message="its report cannot be understood")


def firmware_facts(files: Mapping[str, Any], upgrades: Mapping[str, Any]) -> FirmwareFacts:
    """Firmware on a server as facts; an upgrade that cannot be understood is left out."""
    found = {}
    for item in upgrades.get("items", ()):
        try:
            upgrade = UpgradeFacts.model_validate(item)
        except ValidationError:
            continue
        found[upgrade.uid] = upgrade
    names = {str(file.get("name")): str(file.get("sha256")) for file in files.get("items", ())}
    return FirmwareFacts(names, found, {str(k): str(v) for k, v in (upgrades.get("holds") or {}).items()})


def fleet_event(item: Mapping[str, Any]) -> FleetEvent:
    """An event of the stream. `data` of most device events is the whole device."""
    kind, data = str(item.get("type", "")), item.get("data") or {}
    device = device_facts(data) if "uid" in data and "state" in data else None
    return FleetEvent(kind, item.get("uid"), moment(item.get("at")), device, {} if device else data)


def moment(text: Any) -> datetime | None:
    """An RFC 3339 time, None when there is none."""
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def session_end(text: Any) -> datetime:
    """End of a code; a server that does not tell is taken to use the documented life of 60 s."""
    return moment(text) or datetime.now(UTC) + timedelta(seconds=CODE_SECONDS)
