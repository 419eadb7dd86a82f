"""How a camera answers commands on the signaling connection: streams, pictures, firmware, the rest; faults."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

from rop_sim.device import STILL, Device
from rop_sim.faults import Faults
from rop_sim.ffmpeg import FilmError
from rop_sim.film import Films
from rop_sim.firmware import CHECK_FAILED, DISCONNECT, Installation, Upgrade
from rop_sim.link import Link
from rop_sim.streams import Streams
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.errors import WireError
from rop_wire.packet import BAD_REQUEST, OK, Packet

PICTURE_PART = 36864
_OF_STREAMS = {
    Command.LIVE_START,
    Command.LIVE_STOP,
    Command.REPLAY_START,
    Command.REPLAY_STOP,
    Command.REPLAY_SEEK,
    Command.KEY_FRAME,
}


class Answers:
    """Answers requests; what takes time runs as a task, so that the next request is answered meanwhile."""

    def __init__(
        self,
        device: Device,
        streams: Streams,
        films: Films,
        faults: Faults,
        upgrade: Upgrade,
        install: Callable[[Installation], None],
        roam: Callable[[], None],
    ) -> None:
        self._device = device
        self._upgrade = upgrade
        self._install = install
        self._roam = roam
        self._streams = streams
        self._films = films
        self._faults = faults
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Stop what is under way."""
        for task in self._tasks:
            task.cancel()

    def take(self, link: Link, request: Packet) -> None:
        """Answer a request, now or later."""
        if "no-answers" in self._faults:
            return
        if "garbage" in self._faults:
            link.write_raw(os.urandom(64))
            return
        refusal = self._faults.number("refuse-all")
        if refusal is not None:
            link.send(request.reply(int(refusal)))
            return
        seconds = self._faults.number("slow-reader")
        if seconds is not None:
            link.pause(reading=False)
            asyncio.get_running_loop().call_later(seconds, link.pause, True)
        late = self._faults.number("late-answers")
        if late is None:
            self._answer(link, request)
        else:
            asyncio.get_running_loop().call_later(late, self._answer, link, request)

    def _answer(self, link: Link, request: Packet) -> None:
        if request.command in _OF_STREAMS:
            self._run(self._stream(link, request))
        elif request.command == Command.SNAPSHOT:
            self._run(self._picture(link, request))
        elif request.command == Command.UPGRADE:
            self._take_firmware(link, request)
        elif request.command == Command.SLEEP:
            self._sleep(link, request)
        else:
            for answer in self._device.answer(request):
                link.send(answer)
            if request.command == Command.SET_WIFI:
                self._roam()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stream(self, link: Link, request: Packet) -> None:
        link.send(await self._streams.answer(request))

    def _take_firmware(self, link: Link, request: Packet) -> None:
        device = self._device
        if request.extension:
            status = self._upgrade.slice(request.payload)
        else:
            try:
                announced = messages.UpgradeBegin.decode(request.payload)
            except WireError:
                link.send(request.reply(BAD_REQUEST))
                return
            battery = device.settings.battery if device.traits.battery else None
            status = self._upgrade.begin(announced, device.settings.firmware, battery)
            device.log("firmware", file=announced.file_name, size=announced.size, status=status)
        if status == DISCONNECT:
            link.close()
        else:
            link.send(request.reply(status))

    def _sleep(self, link: Link, request: Packet) -> None:
        """Sleep, or install when a file was announced before."""
        if not self._upgrade.active:
            link.send(request.reply(OK if self._device.traits.battery else BAD_REQUEST))
            if self._device.traits.battery:
                link.finish()
            return
        installation = self._upgrade.install(self._device.settings.firmware)
        if installation is None:
            link.send(request.reply(CHECK_FAILED))
            return
        link.send(request.reply())
        self._install(installation)

    async def _picture(self, link: Link, request: Packet) -> None:
        """A JPEG in parts; without ffmpeg a tiny one that is always there."""
        try:
            stream_type = messages.Snapshot.decode(request.payload).stream_type
        except WireError:
            link.send(request.reply(BAD_REQUEST))
            return
        try:
            picture = await self._films.photograph(stream_type)
        except FilmError as failure:
            self._device.log("no-media", why=str(failure))
            picture = STILL
        link.send(request.reply(payload=messages.EMPTY_DOCUMENT))
        parts = [picture[at : at + PICTURE_PART] for at in range(0, len(picture), PICTURE_PART)]
        for part in parts[:-1]:
            link.send(request.reply(messages.SNAPSHOT_MORE, part))
        if "snapshot-cut" not in self._faults:
            link.send(request.reply(messages.SNAPSHOT_LAST, parts[-1]))
