"""One recovery drill: fetch, restore, strip, start, and let cameras try it. Every step can turn it red."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rop_data import settings
from rop_data.archive.container import Opened
from rop_data.archive.errors import ArchiveError
from rop_data.archive.restore import Expectation, restore
from rop_data.config import Config, ConfigError
from rop_data.drill import CONTROL, NEWCOMER, WITNESS, DrillCamera
from rop_data.layout import DataDir
from rop_drill import cameras, refusals
from rop_drill.diary import Diary
from rop_drill.isolation import LOOPBACK_ONLY
from rop_drill.reasons import DrillFailed, Reason
from rop_drill.server import PROGRAM, RestoredServer
from rop_drill.sink import AlarmSink
from rop_drill.source import Fetched
from rop_drill.strip import free_ports, strip
from rop_drill.viewer import Viewer, ViewError
from rop_pki import PkiError
from rop_pki.envelope import EnvelopeError, Identities
from rop_sim.camera import Camera
from rop_sim.provision import SetupError
from rop_wire.errors import WireError
from rop_wire.lan import SetupDocument

PICTURES = 15
DENIED_TRIED = 3
_LOOK_AGAIN = 0.05
_CLOCK_SLACK = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a drill gets: `fetch` gives the archive (raises DrillFailed), `identify` what opens it (raises
    EnvelopeError), the rest tries it.

    `isolate` leaves the network after that, and tells how far it came. `patience`: seconds for one step.
    `faults` (of the camera) and `tamper` (with the restored folder, before its start) are for the self-test: they
    spoil what the drill must then notice.
    """

    fetch: Callable[[], Fetched]
    identify: Callable[[], Identities]
    camera: DrillCamera
    expected: Expectation
    max_age: timedelta | None = None
    patience: float = 60.0
    program: Sequence[str] = PROGRAM
    isolate: Callable[[], str] = lambda: LOOPBACK_ONLY
    faults: tuple[str, ...] = ()
    tamper: Callable[[Path], None] | None = field(default=None, repr=False)


async def drill(inputs: Inputs, folder: Path, diary: Diary) -> None:
    """Drill in an empty folder in memory. Raises DrillFailed; whatever was started is stopped then, too."""
    directory = _restored(inputs, folder, diary)
    async with contextlib.AsyncExitStack() as started:
        sink = AlarmSink()
        await sink.start()
        started.push_async_callback(sink.stop)
        with diary.step("Stripping"):
            ports = free_ports()
            config = strip(directory, ports, sink.url, inputs.camera.uid)
        server = RestoredServer(directory, ports["clientHttp"], inputs.program)
        started.push_async_callback(server.stop)
        with diary.step("Starting"):
            await server.start(inputs.patience)
        trial = _Trial(inputs, folder, diary, server, sink, ports)
        await trial.come_back(started)
        await trial.work()
        await trial.enrol(started)
        await trial.refuse(directory, config)


def _restored(inputs: Inputs, folder: Path, diary: Diary) -> DataDir:
    """Everything before a server starts."""
    now = datetime.now(UTC)
    with diary.step("Fetching"):
        fetched, identities = inputs.fetch(), _identities(inputs)
    with diary.step("Isolating") as step:
        step.detail = diary.facts["network"] = inputs.isolate()
    directory = DataDir(folder / "data")
    with diary.step("Restoring") as step:
        opened = _open(fetched, directory.root, identities, inputs.expected)
        step.detail = f"{len(opened.entries)} items of generation {opened.header.generation}"
    diary.archive(fetched.name, opened.header, now)
    diary.facts["rootKeyOpened"] = opened.items.root_key is not None
    with diary.step("Judging"):
        _judge_age(inputs.max_age, opened.header.created_at, now)
        _judge_references(directory)
        denied = refusals.denied_uids(directory)
        diary.facts["denied"] = len([uid for uid in denied if uid != WITNESS])
        if WITNESS not in denied:
            raise DrillFailed(
                Reason.DENY_LIST_LOST,
                f"{WITNESS} is not on the deny list; if the drill camera was enrolled after this archive, make"
                " another archive",
            )
    if inputs.tamper is not None:
        inputs.tamper(directory.root)
    return directory


def _identities(inputs: Inputs) -> Identities:
    try:
        return inputs.identify()
    except EnvelopeError as failure:
        raise DrillFailed(Reason.DECRYPT_FAILED, str(failure)) from None


def _open(fetched: Fetched, target: Path, identities: Identities, expected: Expectation) -> Opened:
    """Check everything, then restore, all in memory."""
    path = target.with_name("archive")
    try:
        path.write_bytes(fetched.data)
        return restore(path, target, identities, expected, without_root_key=True)
    except ArchiveError as failure:
        raise DrillFailed.of(failure) from None
    except OSError as failure:
        raise DrillFailed(Reason.SCRATCH, f"{failure.strerror}") from None


def _judge_age(limit: timedelta | None, created: datetime, now: datetime) -> None:
    if created > now + _CLOCK_SLACK:
        raise DrillFailed(Reason.ARCHIVE_STALE, f"made at {created.isoformat()}, in the future: a clock is wrong")
    if limit is not None and now - created > limit:
        raise DrillFailed(Reason.ARCHIVE_STALE, f"made at {created.isoformat()}, more than {limit} ago")


def _judge_references(directory: DataDir) -> None:
    """Files that rop.json names: without them the restored site would serve, but not as before."""
    try:
        known = settings.load(directory.rop)
    except ConfigError as failure:
        raise DrillFailed(Reason.ITEM_INVALID, str(failure)) from None
    assert known is not None  # an archive without it is refused
    wanted = [file for sink in known.alarms.sinks for file in (sink.url_file, sink.key_file) if file]
    if known.backup is not None:
        wanted += [place.credentials_file for place in known.backup.targets if place.s3 is not None]
    if known.management_listen is not None:
        wanted += [f"manage/{name}" for name in ("ca.pem", "cert.pem", "key.pem")]
    for name in wanted:
        if not Path(name).is_absolute() and not (directory.root / name).is_file():
            raise DrillFailed(Reason.ITEM_MISSING, f"{name}, which rop.json needs")


@dataclass
class _Trial:
    """What the cameras do with the restored server."""

    inputs: Inputs
    folder: Path
    diary: Diary
    server: RestoredServer
    sink: AlarmSink
    ports: dict[str, int]
    _camera: Camera = field(init=False)

    async def come_back(self, started: contextlib.AsyncExitStack) -> None:
        """The camera that was enrolled before: trust, renew, register, online. The end of this is the RTO."""
        diary, known = self.diary, self.inputs.camera
        camera = self._camera = cameras.veteran(self.folder / "veteran", known, self.ports, self.inputs.faults)
        with diary.step("Trusting"):
            await cameras.trust(camera)
        with diary.step("Renewing") as step:
            until = await cameras.renew_certificate(camera)
            step.detail = f"valid until {datetime.fromtimestamp(until, UTC).isoformat()}"
        with diary.step("Registering"):
            await cameras.register_again(camera)
        with diary.step("Connecting"):
            await started.enter_async_context(living(camera))
            await self._until_online(known.uid)
        diary.facts["rtoSeconds"] = diary.elapsed()

    async def work(self) -> None:
        """A command, a stream, an alarm."""
        with self.diary.step("Commanding"):
            await self._command()
        with self.diary.step("Streaming") as step:
            step.detail = f"{await self._stream()} pictures"
        with self.diary.step("Alarming"):
            await self._alarm()

    async def enrol(self, started: contextlib.AsyncExitStack) -> None:
        """A new camera, from the session to online."""
        with self.diary.step("Enrolling"):
            if not await self.server.claim([NEWCOMER, CONTROL]):
                raise DrillFailed(Reason.ENROLMENT_REFUSED, "the copy cannot be managed")
            path = "/devices/initialization-session"
            status, told = await self.server.client("POST", path, {"uid": NEWCOMER})
            if status != 200:
                raise DrillFailed(Reason.ENROLMENT_REFUSED, f"the session was answered with {status}")
            camera = cameras.newcomer(self.folder / "newcomer", NEWCOMER)
            await started.enter_async_context(living(camera))
            try:
                await camera.set_up(SetupDocument.of(told))
            except (SetupError, WireError) as failure:
                raise DrillFailed(Reason.ENROLMENT_REFUSED, str(failure)) from None
            await self._until_online(NEWCOMER, Reason.ENROLMENT_REFUSED)

    async def refuse(self, directory: DataDir, config: Config) -> None:
        """Denied devices stay outside; a control that is not denied shows that the doors open at all."""
        with self.diary.step("Refusing") as step:
            own = refusals.sample(refusals.denied_uids(directory), DENIED_TRIED)
            control = await self._doors(directory, config, CONTROL)
            if shut := [name for name, let_in in control.items() if not let_in]:
                raise DrillFailed(Reason.CONNECTION_REFUSED, f"a device that is not denied was refused at {shut}")
            for uid in (WITNESS, *own):
                found = await self._doors(directory, config, uid)
                if let_in := [name for name, opened in found.items() if opened]:
                    raise DrillFailed(Reason.DENY_LIST_LOST, f"{uid} is denied and was let in at {let_in}")
            step.detail = f"{len(own) + 1} denied devices at {len(control)} ports"

    async def _doors(self, directory: DataDir, config: Config, uid: str) -> dict[str, bool]:
        try:
            identity = refusals.forge(directory, config, uid)
        except (ConfigError, PkiError) as failure:
            raise DrillFailed(Reason.ITEM_INVALID, str(failure)) from None
        return await refusals.doors(self.server, identity, uid, self.ports, self.folder / "forged" / uid)

    async def _until_online(self, uid: str, reason: Reason = Reason.CONNECTION_REFUSED) -> None:
        if not await self._within(lambda: self.server.online(uid)):
            raise DrillFailed(reason, f"{uid} is not online within {self.inputs.patience:g} s")

    async def _within(self, condition: Callable[[], Awaitable[bool]]) -> bool:
        """Look at a condition until it holds or the patience for a step is over."""
        try:
            async with asyncio.timeout(self.inputs.patience):
                while not await condition():  # noqa: ASYNC110 - another program's state
                    await asyncio.sleep(_LOOK_AGAIN)
        except TimeoutError:
            return False
        return True

    async def _command(self) -> None:
        name = "After the fire"
        path = f"/devices/{self._camera.traits.uid}/settings"
        status, _ = await self.server.client("PUT", f"{path}/general-config", {"deviceName": name})
        found = self._camera.device.settings.deviceName
        if status != 200 or found != name:
            raise DrillFailed(Reason.COMMAND_FAILED, f"answered with {status}, the camera's name is {found!r}")
        status, _ = await self.server.client("PUT", f"{path}/alarm", {"enabled": True})
        if status != 200 or not self._camera.device.settings.alarm:
            raise DrillFailed(Reason.COMMAND_FAILED, f"the alarm switch was answered with {status}")

    async def _stream(self) -> int:
        path = f"/devices/{self._camera.traits.uid}/live/play-session"
        body = {"streamType": cameras.STREAM, "channel": 0}
        status, told = await self.server.client("POST", path, body)
        if status != 200:
            raise DrillFailed(Reason.STREAM_FAILED, f"the play session was answered with {status}")
        viewer = Viewer(told["playURL"])
        try:
            async with asyncio.timeout(self.inputs.patience):
                await viewer.watch(PICTURES)
        except (ViewError, TimeoutError) as failure:
            told = str(failure) or f"{viewer.pictures} pictures within {self.inputs.patience:g} s"
            raise DrillFailed(Reason.STREAM_FAILED, told) from None
        return viewer.pictures

    async def _alarm(self) -> None:
        uid = self._camera.traits.uid
        if not await self._camera.raise_alarm("people"):
            raise DrillFailed(Reason.ALARM_LOST, "the camera could not report it")
        try:
            async with asyncio.timeout(self.inputs.patience):
                told = await self.sink.alarms.get()
        except TimeoutError:
            raise DrillFailed(Reason.ALARM_LOST, f"it did not arrive within {self.inputs.patience:g} s") from None
        if told.get("uid") != uid or told.get("AItype") != "people":
            raise DrillFailed(Reason.ALARM_LOST, "another alarm arrived")


@contextlib.asynccontextmanager
async def living(camera: Camera) -> AsyncIterator[None]:
    """A camera that lives meanwhile."""
    life = asyncio.create_task(camera.run())
    try:
        yield
    finally:
        life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await life
