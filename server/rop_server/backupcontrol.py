"""Backups as the management interface sees and changes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rop_data import sinks as stored
from rop_data.archive import container, sheet, shelf
from rop_data.archive import policy as policies
from rop_data.archive.create import prefix_of
from rop_data.archive.errors import ArchiveError, Reason
from rop_data.archive.items import SECRETS
from rop_data.archive.policy import BackupPolicy, Place
from rop_data.archive.s3 import Credentials, decode_credentials
from rop_data.archive.target import Listed
from rop_data.config import ConfigError
from rop_data.layout import DataDir
from rop_server.backup.offload import offload
from rop_server.backup.places import Places
from rop_server.backup.record import Archive, Problem, Run, TargetRecord
from rop_server.backup.service import BackupOptions, Backups, Times
from rop_server.backup.stock import Stock
from rop_server.control import SiteControl
from rop_server.core.hub import Clock
from rop_server.manage.backupops import Conflict, Unknown
from rop_server.state.record import rfc3339


class BackupControl:
    """Implements `rop_server.manage.backupops.Backing`."""

    def __init__(self, service: Backups, stock: Stock, places: Places, control: SiteControl) -> None:
        self._service = service
        self._stock = stock
        self._places = places
        self._control = control

    @property
    def _policy(self) -> BackupPolicy | None:
        return self._control.ours.backup

    # -- the policy -------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The policy without secrets, and what is known of each target."""
        policy, stock = self._policy, self._stock
        return {
            "policy": None if policy is None else policy.encode(),
            "signer": stock.signer,
            "generation": stock.generation,
            "covered": stock.covered(),
            "problem": _problem(stock.problem),
            "targets": [self._target(each) for each in (policy.targets if policy else ())],
        }

    def _target(self, place: Place) -> dict[str, Any]:
        known = self._stock.record.targets.get(place.name) or TargetRecord(place.shown)
        proven = [each for each in known.archives if each.proven_at is not None]
        return {
            "name": place.name,
            "place": place.shown,
            "busy": self._service.busy(place.name),
            "covered": self._stock.covered(place.name),
            "lastAttempt": rfc3339(known.attempt_at),
            "stored": None if known.last is None else _known(known.last),
            "proven": _known(proven[-1]) if proven else None,
            "problem": _problem(known.problem),
        }

    async def put(self, raw: Mapping[str, Any]) -> None:
        """Set the policy. `targets[].s3.credentials` go into files of their own; a bucket without them keeps those
        it has. Raises ConfigError, then nothing is changed.
        """
        raw, credentials = _apart(raw)
        policy = policies.decode(raw, "policy")
        if policy is None:
            raise ConfigError("policy", "an object")
        for number, place in enumerate(policy.targets):
            where = f"policy.targets[{number}]"
            if place.directory is not None and self._places.inside(place.directory):
                raise ConfigError(
                    f"{where}.directory.path", "outside of the data directory: what burns it burns the archives"
                )
            if place.name not in credentials and not self._places.has_credentials(place):
                raise ConfigError(f"{where}.s3.credentials", "an object of accessKey and secretKey")
        for place in policy.targets:
            if place.s3 is not None and place.name in credentials:
                stored.write_secret(
                    self._places.directory.root, place.credentials_file, credentials[place.name].encode()
                )
        await self._apply(policy)

    def same(self, raw: Mapping[str, Any]) -> bool:
        """Whether this is the policy, and credentials given are those that are kept. Raises ConfigError."""
        raw, credentials = _apart(raw)
        return policies.decode(raw, "policy") == self._policy and all(
            self._places.credentials(place) == credentials[place.name]
            for place in (self._policy.targets if self._policy else ())
            if place.name in credentials
        )

    async def clear(self) -> None:
        """No more archives; those on the targets stay."""
        await self._apply(None)

    async def _apply(self, policy: BackupPolicy | None) -> None:
        await self._control.apply({"rop.backup": None if policy is None else policy.encode()})
        kept = {each.credentials_file for each in policy.targets if each.s3} if policy else set()
        for path in (self._places.directory.root / SECRETS).glob("backup-*.json"):
            if f"{SECRETS}/{path.name}" not in kept:
                path.unlink(missing_ok=True)
        self._service.wake()

    # -- runs -------------------------------------------------------------------------------------

    def submit(self, id_: str, targets: list[str] | None, retain: str, accept_clock: bool) -> dict[str, Any]:
        """Ask for an archive; on disk when this returns. One id asks once. Raises Unknown, Conflict, OSError."""
        record, policy = self._stock.record, self._policy
        known = record.runs.get(id_)
        if known is not None:
            if known.retain != retain or targets not in (None, known.targets):
                raise Conflict(f"run {id_} was asked for with other targets or another retain")
            return _run(known)
        names = [each.name for each in policy.targets] if policy else []
        if not names:
            raise Unknown("policy", "this server has no backup policy; set spec.backup")
        wanted = names if targets is None else targets
        for name in wanted:
            if name not in names:
                raise Unknown("target", f"the policy has no target {name}; it has {', '.join(names)}")
        now = self._service.now()
        run = Run(id_, list(wanted), retain, now, dict.fromkeys(wanted))
        record.runs[id_] = run
        latest = record.latest
        if accept_clock:
            record.latest = min(record.latest, now)
        try:
            self._stock.save()
        except OSError:
            del record.runs[id_]
            record.latest = latest
            raise
        self._service.wake()
        return _run(run)

    def run(self, id_: str) -> dict[str, Any] | None:
        """A run by its id."""
        known = self._stock.record.runs.get(id_)
        return None if known is None else _run(known)

    # -- archives ---------------------------------------------------------------------------------

    async def archives(self, target: str | None) -> list[dict[str, Any]]:
        """What the targets list now, newest first. Raises Unknown and ArchiveError."""
        policy = self._policy
        places = [self._place(target)] if target is not None else list(policy.targets if policy else ())
        signer = self._stock.signer
        prefix = "" if signer is None else prefix_of(signer)

        def work() -> list[tuple[str, Listed]]:
            return [(place.name, each) for place in places for each in self._places.open(place).names(prefix)]

        found = [self._listed(name, each) for name, each in await offload(work)]
        return sorted(found, key=lambda each: (each["created"] or "", each["name"]), reverse=True)

    def _listed(self, target: str, each: Listed) -> dict[str, Any]:
        named = shelf.label(each.name)
        record = self._stock.record.targets.get(target)
        known = record.archive(each.name) if record is not None else None
        return {
            "target": target,
            "name": each.name,
            "size": each.size,
            "generation": named.generation if named else None,
            "created": rfc3339(named.made.timestamp()) if named else None,
            "retain": known.retain if known else None,
            "state": known.state if known is not None and known.size == each.size else "Listed",
        }

    async def content(self, name: str, target: str) -> bytes:
        """The bytes of an archive, as the target has them. Raises Unknown and ArchiveError."""
        place = self._named(name, target)
        return await offload(lambda: self._read(place, name))

    async def sheet(self) -> str:
        """The recovery sheet of the newest archive, HTML. Raises Unknown and ArchiveError."""
        places = list(self._policy.targets if self._policy else ())
        known = [(told.last, place) for place in places if (told := self._stock.record.targets.get(place.name))]
        found = [(last.created, last.name, place) for last, place in known if last is not None]
        if not found:
            raise Unknown("archive", "no archive is stored yet")
        _, name, place = max(found, key=lambda each: each[:2])
        data = await offload(lambda: self._read(place, name))
        folders = [Path(each.directory) for each in places if each.directory is not None]
        shown = [each.shown for each in places]
        return sheet.render(container.read(data).header, shown, folders[0] if folders else None)

    async def verify(self, name: str, target: str) -> dict[str, Any]:
        """Read an archive back once more. Raises Unknown, and ArchiveError when it is not whole or not ours."""
        place = self._named(name, target)
        found = await offload(lambda: shelf.look(self._places.open(place), Listed(name, 0)))
        if found.header is None:
            self._stock.forget(target, name)
            self._stock.keep()
            raise ArchiveError(Reason.DAMAGED, found.problem or "not whole")
        archive = self._stock.adopt(target, found)
        if archive is None:
            raise ArchiveError(Reason.FOREIGN_SIGNER, f"{name} was not made by this site")
        self._stock.keep()
        return {"target": target} | _known(archive)

    async def proven(self, name: str, target: str, at: float) -> dict[str, Any]:
        """A drill opened the archive, at this time (epoch seconds). Raises Unknown and ArchiveError."""
        record = self._stock.record.targets.get(target)
        archive = record.archive(name) if record is not None else None
        if archive is None:
            await self.verify(name, target)
            record = self._stock.record.targets[target]
            archive = record.archive(name)
            assert archive is not None
        archive.proven_at = at
        self._stock.save()
        self._stock.proven(target, name)
        return {"target": target} | _known(archive)

    async def prune(self, target: str, credentials: object, dry_run: bool) -> list[str]:
        """Delete what the retention no longer wants; the names. Buckets need `credentials` of their own, which are
        not kept. Raises Unknown, ValueError and ArchiveError.
        """
        place, policy = self._place(target), self._policy
        assert policy is not None
        if self._service.clock_implausible():
            raise ArchiveError(Reason.CLOCK, "the clock is behind the last archive; nothing is deleted")
        keys = None if credentials is None else decode_credentials(credentials)
        if place.s3 is not None and keys is None:
            raise ValueError("are needed for a bucket: the server's own only add")
        signer = self._stock.signer
        if signer is None:
            return []
        now, prefix = datetime.fromtimestamp(self._service.now(), UTC), prefix_of(signer)
        keep = (policy.keep_last, policy.keep_days, now, prefix)

        def work() -> list[str]:
            opened = self._places.open(place, keys)
            return list(shelf.doomed(opened, *keep)) if dry_run else shelf.prune(opened, *keep)

        gone = await offload(work)
        if not dry_run:
            for name in gone:
                self._stock.forget(target, name)
            self._stock.keep()
        return gone

    def _place(self, target: str) -> Place:
        policy = self._policy
        place = None if policy is None else policy.target(target)
        if place is None:
            raise Unknown("target", f"the policy has no target {target}")
        return place

    def _named(self, name: str, target: str) -> Place:
        if shelf.label(name) is None:
            raise Unknown("archive", "no archive of this name")
        return self._place(target)

    def _read(self, place: Place, name: str) -> bytes:
        target = self._places.open(place)
        if not any(each.name == name for each in target.names(name)):
            raise Unknown("archive", f"target {place.name} has no archive of this name")
        return target.get(name)


def _apart(raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Credentials]]:
    """The policy without credentials, and these by target. Raises ConfigError."""
    found: dict[str, Credentials] = {}
    policy = dict(raw)
    targets = policy.get("targets")
    if not isinstance(targets, list):
        return policy, found
    policy["targets"] = []
    for number, each in enumerate(targets):
        bucket = each.get("s3") if isinstance(each, dict) else None
        if isinstance(bucket, dict) and "credentials" in bucket:
            try:
                found[str(each.get("name"))] = decode_credentials(bucket["credentials"])
            except ValueError as error:
                raise ConfigError(f"policy.targets[{number}].s3.credentials", f"usable: it {error}") from None
            rest = {name: value for name, value in bucket.items() if name != "credentials"}
            policy["targets"].append({**each, "s3": rest})
        else:
            policy["targets"].append(each)
    return policy, found


def _problem(problem: Problem | None) -> dict[str, Any] | None:
    if problem is None:
        return None
    return {"reason": problem.reason, "message": problem.message, "since": rfc3339(problem.since)}


def _known(archive: Archive) -> dict[str, Any]:
    return {
        "name": archive.name,
        "generation": archive.generation,
        "created": rfc3339(archive.created),
        "size": archive.size,
        "retain": archive.retain,
        "state": archive.state,
        "storedAt": rfc3339(archive.stored_at),
        "provenAt": rfc3339(archive.proven_at),
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "state": run.state,
        "retain": run.retain,
        "archive": run.archive,
        "generation": run.generation,
        "requestedAt": rfc3339(run.requested_at),
        "finishedAt": rfc3339(run.finished_at),
        "targets": [
            {
                "name": name,
                "state": "Pending" if told is None else "Failed" if told else "Stored",
                "message": told or None,
                "sha256": run.digests.get(name),
            }
            for name, told in run.outcomes.items()
        ],
    }


def assemble(
    control: SiteControl,
    directory: DataDir,
    note: Callable[[str, dict[str, Any]], None],
    clock: Clock,
    options: BackupOptions,
) -> tuple[Backups, BackupControl]:
    """The service of a directory, and what the management interface needs of it."""
    stock, places = Stock(directory, note, clock.wall), Places(directory, options.loopback)
    times = Times(clock.monotonic, clock.wall, options.pace)
    service = Backups(stock, places, lambda: control.ours.backup, times, options.includes)
    return service, BackupControl(service, stock, places, control)
