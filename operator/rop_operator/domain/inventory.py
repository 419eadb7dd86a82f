"""Every camera anybody has seen: its Camera, what a server knows of it, whether it answers on the LAN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from rop_operator.api.facts import DeviceFacts, Document, Found, Ref
from rop_operator.api.registry import API_VERSION
from rop_operator.domain.conditions import previous
from rop_operator.domain.snapshot import server_ref

Claim = Literal["Claimed", "Enrolled", "Revoked", "Found"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One camera. `claim`: Claimed (a Camera names it), Enrolled (a server knows it, no Camera does), Revoked (the
    same, and the server denies it) or Found (it answers on the LAN, nobody knows it). `state`: Online, Asleep,
    Offline, NeverSeen, Unknown (its server does not answer and never told). `since`: of that state.
    """

    uid: str
    claim: Claim
    state: str
    server: Ref | None = None
    camera: Ref | None = None
    since: datetime | None = None
    address: str | None = None
    model: str | None = None
    firmware: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The entry for `-o json`; what is not known is null."""
        return {
            "uid": self.uid,
            "claim": self.claim,
            "state": self.state,
            "since": self.since.isoformat() if self.since else None,
            "server": f"{self.server.namespace}/{self.server.name}" if self.server else None,
            "camera": f"{self.camera.namespace}/{self.camera.name}" if self.camera else None,
            "address": self.address,
            "model": self.model,
            "firmware": self.firmware,
        }


def inventory(
    cameras: Sequence[Document], devices: Mapping[Ref, Sequence[DeviceFacts]], found: Sequence[Found] = ()
) -> list[Entry]:
    """Sorted by claim as in `Claim`, then UID. `devices`: by RopServer, of those that answered."""
    on_lan = {each.uid: each.address for each in found}
    known = {(server, device.uid): device for server, each in devices.items() for device in each}
    claimed = [_claimed(document, known, devices, on_lan) for document in cameras]
    taken = {(entry.server, entry.uid) for entry in claimed}
    strays = [_stray(server, device, on_lan) for (server, _), device in known.items()]
    strays = [entry for entry in strays if (entry.server, entry.uid) not in taken]
    seen = {entry.uid for entry in (*claimed, *strays)}
    new = [Entry(uid, "Found", "NeverSeen", address=on_lan[uid]) for uid in on_lan if uid not in seen]
    order = ("Claimed", "Enrolled", "Revoked", "Found")
    return sorted((*claimed, *strays, *new), key=lambda e: (order.index(e.claim), e.uid, str(e.server)))


def _claimed(
    document: Document,
    known: Mapping[tuple[Ref, str], DeviceFacts],
    answered: Mapping[Ref, object],
    on_lan: Mapping[str, str],
) -> Entry:
    uid, server = str(document.spec.get("uid")), server_ref(document)
    device = known.get((server, uid)) if server is not None else None
    if device is not None:
        return _of_device(device, "Claimed", server, document.ref, on_lan)
    if server in answered:
        return Entry(uid, "Claimed", "NeverSeen", server, document.ref, address=on_lan.get(uid))
    status = document.status
    moment = previous(status, "Online").get("lastTransitionTime")
    return Entry(
        uid,
        "Claimed",
        str(status.get("state", "Unknown")),
        server,
        document.ref,
        datetime.fromisoformat(moment) if isinstance(moment, str) else None,
        status.get("address") or on_lan.get(uid),
        status.get("model"),
        status.get("firmware"),
    )


def _stray(server: Ref, device: DeviceFacts, on_lan: Mapping[str, str]) -> Entry:
    return _of_device(device, "Revoked" if device.access == "Denied" else "Enrolled", server, None, on_lan)


def _of_device(
    device: DeviceFacts, claim: Claim, server: Ref | None, camera: Ref | None, on_lan: Mapping[str, str]
) -> Entry:
    return Entry(
        device.uid,
        claim,
        device.state,
        server,
        camera,
        device.since or device.last_seen,
        device.address or on_lan.get(device.uid),
        device.model,
        device.firmware,
    )


def imported(entry: Entry, server: Ref) -> dict[str, Any]:
    """The Camera document of an entry that has none. It says nothing about settings or set-up, so that applying it
    writes to no device, and a denied one stays denied.
    """
    spec: dict[str, Any] = {"serverRef": {"name": server.name}, "uid": entry.uid}
    if entry.claim == "Revoked":
        spec["access"] = "Denied"
    return {
        "apiVersion": API_VERSION,
        "kind": "Camera",
        "metadata": {"name": f"cam-{entry.uid.lower()}", "namespace": server.namespace},
        "spec": spec,
    }
