"""Reconciling CameraProfiles: which there are, whom they select, their status."""

from collections.abc import Callable

from rop_operator.api.facts import Document, Ref
from rop_operator.domain.profile_status import ProfileSnapshot, profile_status
from rop_operator.domain.profiles import Profile, profile_of
from rop_operator.ports import Clock, Store
from rop_operator.reconcile.report import put_when_different
from rop_operator.reconcile.roster import Roster

KIND = "CameraProfile"


class Profiles:
    """The valid profiles by server, and the engine's part for them. `due` puts a reference into the queue."""

    def __init__(self, store: Store, clock: Clock, roster: Roster, due: Callable[[Ref], None]) -> None:
        self._store = store
        self._clock = clock
        self._roster = roster
        self._due = due
        self._profiles: dict[Ref, Profile] = {}
        self._by_server: dict[Ref, dict[Ref, Profile]] = {}

    async def load(self) -> None:
        """Know every profile before the first camera is acted for."""
        for document in await self._store.list(KIND):
            self._keep(document.ref, profile_of(document))

    def _keep(self, ref: Ref, profile: Profile | None) -> Profile | None:
        """Remember a version; the one before."""
        old = self._profiles.pop(ref, None)
        if old is not None:
            del self._by_server[old.server][ref]
        if profile is not None:
            self._profiles[ref] = profile
            self._by_server.setdefault(profile.server, {})[ref] = profile
        return old

    async def changed(self, ref: Ref) -> None:
        """A document changed: the cameras it selected or selects look again, and the other profiles."""
        document = await self._store.get(ref)
        new = profile_of(document) if document is not None else None
        old = self._keep(ref, new)
        if old == new:
            return
        both = [profile for profile in (old, new) if profile is not None]
        for server in dict.fromkeys(profile.server for profile in both):
            self.server_changed(server)
            for camera in self._roster.of_server(server):
                found = await self._store.get(camera)
                if found is not None and any(profile.selects(found) for profile in both):
                    self._due(camera)

    def server_changed(self, server: Ref) -> None:
        """Cameras of this server came, went or have other labels: its profiles look again."""
        for ref in self._by_server.get(server, ()):
            self._due(ref)

    def selecting(self, camera: Document, server: Ref) -> tuple[Profile, ...]:
        """The profiles that select a Camera of this server."""
        return tuple(p for p in self._by_server.get(server, {}).values() if p.selects(camera))

    async def reconcile(self, ref: Ref) -> float | None:
        """Once."""
        document = await self._store.get(ref)
        if document is None:
            return None
        profile = self._profiles.get(ref)
        server, cameras, others = None, list[Document](), list[Profile]()
        if profile is not None:
            server = await self._store.get(profile.server)
            found = [await self._store.get(camera) for camera in self._roster.of_server(profile.server)]
            cameras = [camera for camera in found if camera is not None]
            others = [p for other, p in self._by_server[profile.server].items() if other != ref]
        snapshot = ProfileSnapshot(document, self._clock.now(), profile, server, cameras, others)
        await put_when_different(self._store, document, profile_status(snapshot))
        return None

    async def close(self) -> None:
        """Nothing is held."""
