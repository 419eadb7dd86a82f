"""The loop that looks at the directory, decides what is due, and sees every archive stored on its targets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from rop_data import atomic
from rop_data.archive import shelf
from rop_data.archive.create import Made, deposit, make, prefix_of
from rop_data.archive.critical import Live, observe
from rop_data.archive.errors import ArchiveError, Reason
from rop_data.archive.items import SECRETS, Include
from rop_data.archive.manifest import BY_POLICY, FOREVER
from rop_data.archive.policy import BackupPolicy, Place
from rop_data.archive.target import DirectoryTarget
from rop_data.layout import DataDir, LockedError
from rop_server.backup.due import Change, Pace, clock_implausible, due
from rop_server.backup.offload import offload
from rop_server.backup.places import Places
from rop_server.backup.record import Run
from rop_server.backup.stock import Failure, Stock, survey, utc

log = structlog.get_logger("rop.backup")

SURVEY_S = 3600.0


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """Flags of the program. `includes`: further folders in every archive; `loopback`: S3 on this machine is
    allowed.
    """

    includes: tuple[Include, ...] = ()
    loopback: bool = False
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True)
class Times:
    """Clocks, in seconds, and how fast it goes."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]
    pace: Pace = field(default_factory=Pace)


@dataclass(slots=True)
class _Job:
    """An archive for one target, and the runs that asked for it."""

    place: Place
    runs: list[Run] = field(default_factory=list)


class Backups:
    """One per server, on the event loop. `policy` gives what is in force."""

    def __init__(
        self,
        stock: Stock,
        places: Places,
        policy: Callable[[], BackupPolicy | None],
        times: Times,
        includes: Sequence[Include] = (),
    ) -> None:
        self._directory: DataDir = places.directory
        self._stock = stock
        self._places = places
        self._policy = policy
        self._times = times
        self._includes = tuple(includes)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._live: Live | None = None
        self._blind = False
        self._change: Change | None = None
        self._surveyed: BackupPolicy | None = None
        self._survey_at = 0.0
        self._second = 0
        self._key_changes = 0

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; what a killed process left half done is swept."""
        for folder in (self._directory.root / "archive", self._directory.root / SECRETS):
            with contextlib.suppress(OSError):
                atomic.sweep(folder)
        self._task = asyncio.get_running_loop().create_task(self._loop())

    async def close(self) -> None:
        """End. A delivery under way is not waited for: it does not count, and is made again."""
        tasks = [task for task in (self._task, *self._busy.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def keys_changed(self) -> None:
        """A key was changed just now: the present keys count as stored nowhere until the directory was looked at
        again.
        """
        self._key_changes += 1
        self._stock.generation = None
        self._stock.tell_covered()
        self.wake()

    def now(self) -> float:
        """The time, epoch seconds."""
        return self._times.wall()

    def clock_implausible(self) -> bool:
        """Whether the clock is behind the last archive."""
        return clock_implausible(self._stock.record, self._times.wall())

    def busy(self, target: str) -> bool:
        """Whether an archive is on its way there."""
        return target in self._busy

    async def _loop(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._round()
            except Exception:  # tried again
                log.exception("backup-round", message="nok")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._times.pace.poll)

    # -- one look ---------------------------------------------------------------------------------

    async def _round(self) -> None:
        policy = self._policy()
        await self._observe()
        if policy is None:
            self._stock.record.targets.clear()
            self._stock.refuse("NoPolicy: this server has no backup policy")
            self._stock.tell_covered()
            return
        self._stock.match(policy)
        self._stock.refuse("TargetUnknown: the policy has no such target", [each.name for each in policy.targets])
        if self._surveyed != policy or self._times.monotonic() >= self._survey_at:
            self._surveyed, self._survey_at = policy, self._times.monotonic() + SURVEY_S
            await asyncio.gather(*(self._survey(place) for place in policy.targets))
        self._stock.tell_covered()
        jobs = self._jobs(policy)
        if self.clock_implausible():
            told = f"the clock is behind the last archive, made at {utc(self._stock.record.latest)}"
            self._fail([job for job in jobs if job.runs], ArchiveError(Reason.CLOCK, told))
        elif jobs:
            await self._perform(policy, jobs)

    async def _observe(self) -> None:
        changes = self._key_changes
        try:
            live = await offload(lambda: observe(self._directory, self._includes))
        except (ArchiveError, OSError) as failure:
            self._blind = True
            self._stock.impossible(failure)
            return
        if changes != self._key_changes:  # what was read may be of before; `wake` was called
            return
        now, before = self._times.monotonic(), self._change
        if before is None or before.value != live.critical:
            # A directory that never rests is archived all the same, so the first moment stays.
            fresh = before is None or before.settled(self._times.pace, now)
            self._change = Change(live.critical, now if fresh or before is None else before.first, now)
        self._live, self._stock.generation = live, live.generation
        problem = self._stock.problem
        if problem is not None and (self._blind or problem.reason == Reason.CLOCK.value):
            self._blind = False
            self._stock.impossible(None)

    async def _survey(self, place: Place) -> None:
        """Compare what is known with what the target lists; a whole archive that nobody noted counts."""
        signer = self._stock.signer
        if place.name in self._busy or signer is None:
            return
        names = {each.name for each in self._stock.record.targets[place.name].archives}
        try:
            listed, found = await offload(lambda: survey(self._places.open(place), signer, names))
        except (ArchiveError, OSError) as failure:
            self._stock.hurt(place.name, failure)
            return
        self._stock.compare(place.name, listed, found)
        self._stock.keep()

    def _jobs(self, policy: BackupPolicy) -> list[_Job]:
        now, live = self._times.wall(), self._live
        settled = self._change is not None and self._change.settled(self._times.pace, self._times.monotonic())
        jobs = []
        for place in policy.targets:
            if place.name in self._busy:
                continue
            known = self._stock.record.targets[place.name]
            asked = [run for run in self._stock.record.runs.values() if run.waits_for(place.name)]
            if asked or (live is not None and due(policy, known, live, settled, now)):
                jobs.append(_Job(place, asked))
        return jobs

    # -- an archive -------------------------------------------------------------------------------

    async def _perform(self, policy: BackupPolicy, jobs: list[_Job]) -> None:
        """Make one archive and send it to every target of the jobs, each on its own."""
        now = self._times.wall()
        if int(now) == self._second:
            return  # its name would be the last one's
        retain = FOREVER if any(run.retain == FOREVER for job in jobs for run in job.runs) else BY_POLICY
        try:
            made = await offload(lambda: self._make(policy, retain, int(now)))
        except LockedError:
            return  # somebody makes one by hand; the next look tries again
        except (ArchiveError, OSError) as failure:
            self._fail(jobs, failure)
            return
        self._second = int(now)
        self._stock.impossible(None)
        for job in jobs:
            task = asyncio.get_running_loop().create_task(self._send(policy, job, made))
            self._busy[job.place.name] = task

    def _make(self, policy: BackupPolicy, retain: str, second: int) -> Made:
        moment = datetime.fromtimestamp(second, UTC)
        return make(self._directory, policy.recipients, policy.single_recipient, moment, self._includes, retain)

    def _fail(self, jobs: list[_Job], failure: Failure) -> None:
        self._stock.impossible(failure)
        for job in jobs:
            self._stock.failed(job.place.name, failure, job.runs)
        self._stock.keep()

    async def _send(self, policy: BackupPolicy, job: _Job, made: Made) -> None:
        name = job.place.name
        try:
            await offload(lambda: self._deliver(policy, job.place, made))
        except (ArchiveError, OSError) as failure:
            self._stock.failed(name, failure, job.runs)
        except Exception as failure:  # a defect of a client library must not end backups for ever
            log.exception("backup", message="nok", target=name)
            self._stock.failed(name, ArchiveError(Reason.TARGET, type(failure).__name__), job.runs)
        else:
            self._stock.stored(name, made, job.runs)
        finally:
            self._busy.pop(name, None)
        self._stock.keep()
        self.wake()

    def _deliver(self, policy: BackupPolicy, place: Place, made: Made) -> None:
        """In a thread: store, read back, verify; then prune where the server may delete."""
        target = self._places.open(place)
        deposit(target, made)
        if not isinstance(target, DirectoryTarget):
            return
        header = made.header
        try:
            gone = shelf.prune(
                target, policy.keep_last, policy.keep_days, header.created_at, prefix_of(header.signer)
            )
        except ArchiveError as failure:
            log.warning("backup-prune", message="nok", target=place.name, reason=str(failure))
            return
        if gone:
            log.info("backup-prune", message="ok", target=place.name, deleted=len(gone))
