"""A plain host: the agent's socket below its state directory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rop_operator.adapters.fleet_transport import Transport
from rop_operator.api.facts import DeviceFacts, Found, Ref, Session
from rop_operator.api.questions import Question
from rop_operator.cli.backend import Applied, ApplyRefused, Check, EventRow, Object, Refusal, ref_of
from rop_operator.ports import Endpoint, PortError

SOCKET = "agent.sock"
LONGEST_CALL = 120.0
LONGEST_UPLOAD = 1800.0


class HostBackend:
    """Talks to `rop-agent` through STATE/agent.sock; secrets are files below `secrets`."""

    def __init__(self, state: Path, secrets: Path) -> None:
        self._state = state
        self._secrets = secrets
        self._transport = Transport(Endpoint(f"unix://{state.absolute() / SOCKET}", "Management"), True)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        timeout: float = LONGEST_CALL,
    ) -> tuple[int, Any]:
        try:
            return await self._transport.call(method, path, query=query, body=body, timeout=timeout)
        except PortError as error:
            raise PortError(
                error.reason,
                f"no answer from the agent at {self._state / SOCKET} ({error.message}); "
                f"start rop-agent with --state {self._state}, or name another state directory or a cluster",
            ) from None

    async def _good(
        self, method: str, path: str, *, query: Mapping[str, str | int] | None = None, body: Any = None
    ) -> Any:
        status, answer = await self._call(method, path, query=query, body=body)
        if status >= 300:
            raise _refused(status, answer)
        return answer

    async def namespace(self) -> str:
        """Always `default`."""
        return "default"

    async def list(self, kind: str, namespace: str | None) -> Sequence[Object]:
        """Objects of a kind."""
        query = {"kind": kind} | ({"namespace": namespace} if namespace else {})
        answer = await self._good("GET", "/v1/objects", query=query)
        return sorted(answer["items"], key=ref_of)

    async def get(self, ref: Ref) -> Object | None:
        """One object."""
        status, answer = await self._call("GET", _path(ref))
        if status == 404:
            return None
        if status >= 300:
            raise _refused(status, answer)
        return dict(answer)

    async def apply(self, objects: Sequence[Object], source: str, force: bool) -> Sequence[Applied]:
        """Hand the objects to the agent."""
        status, answer = await self._call(
            "POST", "/v1/apply", body={"documents": list(objects), "source": source, "force": force}
        )
        if status in (400, 409, 422) and isinstance(answer, dict) and "errors" in answer:
            raise ApplyRefused([_refusal(error, objects) for error in answer["errors"]])
        if status >= 300:
            raise _refused(status, answer)
        return [Applied(_ref(result["ref"]), result["result"]) for result in answer["results"]]

    async def delete(self, ref: Ref) -> bool:
        """Ask for deletion."""
        status, answer = await self._call("DELETE", _path(ref))
        if status == 404:
            return False
        if status >= 300:
            raise _refused(status, answer)
        return True

    async def events(self, namespace: str | None, ref: Ref | None) -> Sequence[EventRow]:
        """Events that the agent keeps."""
        query: dict[str, str | int] = {}
        if ref is not None:
            query = {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name}
        elif namespace:
            query = {"namespace": namespace}
        answer = await self._good("GET", "/v1/events", query=query)
        return [_event(item) for item in answer["items"]]

    async def session(self, server: Ref, uid: str) -> Session:
        """A session by the agent."""
        path = f"/v1/servers/{server.namespace}/{server.name}/initialization-session"
        answer = await self._good("POST", path, body={"uid": uid})
        return session_of(uid, answer)

    async def ask(self, server: Ref, question: Question) -> Mapping[str, Any]:
        """Asked by the agent."""
        path = f"/v1/servers/{server.namespace}/{server.name}/questions"
        body = {"verb": question.verb, "arguments": dict(question.arguments)}
        return dict(await self._good("POST", path, body=body))

    async def devices(self, server: Ref) -> Sequence[DeviceFacts]:
        """What the agent holds of a server's devices."""
        from rop_operator.adapters.fleet_management import device_facts

        answer = await self._good("GET", f"/v1/servers/{server.namespace}/{server.name}/devices")
        return [facts for item in answer["items"] if (facts := device_facts(item)) is not None]

    async def pki(self, server: Ref) -> Mapping[str, Any]:
        """By the agent."""
        found: Mapping[str, Any] = await self._good("GET", f"/v1/servers/{server.namespace}/{server.name}/pki")
        return found

    async def approve_renewal(self, server: Ref, uid: str, seconds: float) -> Mapping[str, Any]:
        """By the agent."""
        path = f"/v1/servers/{server.namespace}/{server.name}/devices/{uid}/renewal"
        found: Mapping[str, Any] = await self._good("PUT", path, body={"seconds": seconds})
        return found

    async def discover(self, seconds: float) -> Sequence[Found]:
        """Discovery by the agent."""
        answer = await self._good("POST", "/v1/discover", body={"seconds": seconds})
        return [Found(item["uid"], item["address"], int(item["port"])) for item in answer["items"]]

    async def put_firmware(self, sha256: str, file: Path) -> None:
        """Hand the file to the agent, piece by piece."""
        status, answer = await self._call("PUT", f"/v1/firmware/{sha256}", body=file, timeout=LONGEST_UPLOAD)
        if status >= 300:
            raise _refused(status, answer)

    async def set_secret(self, namespace: str, name: str, key: str, value: bytes) -> str:
        """A file SECRETS/NAMESPACE/NAME/KEY, 0600, replaced at once."""
        folder = self._secrets / namespace / name
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            owner = self._secrets.stat()
            handle, temporary = tempfile.mkstemp(prefix=".", dir=folder)
            with os.fdopen(handle, "wb") as file:
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            if os.geteuid() == 0:  # the agent reads it as the user that the directory belongs to
                for path in (folder.parent, folder, temporary):
                    os.chown(path, owner.st_uid, owner.st_gid)
            Path(temporary).replace(folder / key)
        except OSError as error:
            raise PortError(
                "SecretNotWritten",
                f"{folder}: {error.strerror}; run as a user who may write there, or give --secrets",
            ) from None
        return str(folder / key)

    async def checks(self, namespace: str | None) -> Sequence[Check]:
        """The agent answers."""
        socket = self._state / SOCKET
        try:
            answer = await self._good("GET", "/v1/health")
        except PortError as error:
            return [
                Check("agent", False, error.message, f"systemctl status rop-agent, and the rights on {socket}")
            ]
        found = [Check("agent", True, f"answers on {socket}, documents from {answer.get('dir', '?')}")]
        if answer.get("source") == "Missing":
            remedy = "mount or create it; until then deletions wait"
            found.append(Check("documents", False, "the directory of documents is empty or not there", remedy))
        for broken in answer.get("errors") or ():
            remedy = "mend the file; the last accepted version stays in force"
            found.append(Check("documents", False, str(broken.get("text")), remedy))
        return found

    async def close(self) -> None:
        """Release the socket."""
        await self._transport.close()


def session_of(uid: str, answer: Mapping[str, Any]) -> Session:
    """A session out of its JSON, with `expiresAt` beside or above the document."""
    from rop_operator.adapters.fleet_management import session_end

    document = dict(answer.get("document") or answer)
    expires = answer.get("expiresAt") or document.get("expiresAt")
    document.pop("expiresAt", None)
    return Session(uid, document, expires_at=session_end(expires))


def _path(ref: Ref) -> str:
    return f"/v1/objects/{ref.kind}/{ref.namespace}/{ref.name}"


def _ref(value: Any) -> Ref:
    if isinstance(value, Mapping):
        return Ref(value["kind"], value["namespace"], value["name"])
    kind, namespace, name = str(value).split("/", 2)
    return Ref(kind, namespace, name)


def _refusal(error: Mapping[str, Any], objects: Sequence[Object]) -> Refusal:
    document = str(error.get("document") or "")
    ref = next((r for r in map(ref_of, objects) if str(r) in document), None)
    rule = str(error.get("rule") or error.get("text") or "refused")
    return Refusal(ref, str(error.get("field") or ""), rule, str(error.get("remedy") or ""))


def _event(item: Mapping[str, Any]) -> EventRow:
    about = item.get("ref") or item.get("object") or item
    return EventRow(
        object=_ref(about),
        type=str(item.get("type", "Normal")),
        reason=str(item.get("reason", "")),
        message=str(item.get("message", "")),
        count=int(item.get("count", 1)),
        first_seen=item.get("firstSeen") or item.get("first_seen") or item.get("at"),
        last_seen=item.get("lastSeen") or item.get("last_seen") or item.get("at"),
    )


def _refused(status: int, answer: Any) -> PortError:
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        return PortError(str(error.get("reason") or "Refused"), str(error.get("message") or "refused"))
    return PortError("Refused", f"the agent answered with status {status}")
