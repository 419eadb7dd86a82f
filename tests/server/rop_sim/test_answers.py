"""How faults change a camera's answers on the signaling connection, at the wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.packet import REQUEST, Packet

Until = Callable[..., Awaitable[Any]]
NEVER_HERE = 3600


def request(number: int, command: int = Command.GET_GENERAL, payload: bytes = b"") -> Packet:
    return Packet(REQUEST, command, number, payload=payload)


class Scene:
    """A camera that is online at a scripted server, and what passes between them."""

    def __init__(self, server: Any, camera: Any, until: Until) -> None:
        self.camera = camera
        self.answers: list[Packet] = []
        self.talk: Any = None
        self._until = until
        self._heard = 0
        server.signaling = self._serve

    async def _serve(self, talk: Any) -> None:
        await talk.accept()
        self.talk = talk
        while True:
            packet = await talk.next()
            if not packet.is_request:
                self.answers.append(packet)

    async def ask(self, packet: Packet) -> None:
        """Send a request and wait until the camera has read it: what follows it breaks a rule, and is counted."""
        self.talk.send(packet)
        self._heard += 1
        self.talk.send(request(9_000, Command.WAKE_UP))
        await self._until("the camera has read it", lambda: self.camera.violations == self._heard)

    async def answer(self, number: int) -> Packet:
        """The answer to a request."""
        found = lambda: next((each for each in self.answers if each.request_id == number), None)  # noqa: E731
        packet: Packet = await self._until(f"answer {number}", found)
        return packet


@pytest.fixture
async def scene(server: Any, run_camera: Any, until: Until) -> Scene:
    camera = run_camera(ptz=True)
    made = Scene(server, camera, until)
    await camera.set_up(server.document())
    await until("it is online", lambda: camera.signaling is not None and camera.signaling.ready)
    return made


@pytest.mark.parametrize("fault", ["no-answers", f"late-answers={NEVER_HERE}"])
async def test_no_answer_now(scene: Scene, fault: str) -> None:
    scene.camera.faults.set(fault)
    await scene.ask(request(1))
    scene.camera.faults.clear()
    scene.talk.send(request(2))
    assert (await scene.answer(2)).status == 200
    assert [each.request_id for each in scene.answers if each.request_id < 9_000] == [2]


async def test_late_answers_come(scene: Scene) -> None:
    scene.camera.faults.set("late-answers=0.05")
    scene.talk.send(request(1))
    assert (await scene.answer(1)).status == 200


async def test_refusals(scene: Scene) -> None:
    scene.camera.faults.set("refuse-all=403")
    scene.talk.send(request(1))
    assert (await scene.answer(1)).status == 403


async def test_slow_reader_reads_nothing_more_for_a_while(scene: Scene, until: Until) -> None:
    scene.camera.faults.set(f"slow-reader={NEVER_HERE}")
    scene.talk.send(request(1))
    assert (await scene.answer(1)).status == 200
    assert not scene.camera.signaling.reading


async def test_slow_reader_goes_on(scene: Scene, until: Until) -> None:
    scene.camera.faults.set("slow-reader=0.05")
    for number in (1, 2, 3):
        scene.talk.send(request(number))
        assert (await scene.answer(number)).status == 200
    await until("it reads", lambda: scene.camera.signaling.reading)


@pytest.mark.parametrize(("fault", "ends"), [("", True), ("snapshot-cut", False)])
async def test_a_picture_and_one_that_never_ends(scene: Scene, fault: str, ends: bool) -> None:
    if fault:
        scene.camera.faults.set(fault)
    scene.talk.send(request(1, Command.SNAPSHOT, messages.Snapshot(0, "mainStream").encode()))
    assert (await scene.answer(1)).payload == messages.EMPTY_DOCUMENT
    scene.talk.send(request(2))
    await scene.answer(2)
    parts = [each.status for each in scene.answers if each.command == Command.SNAPSHOT]
    assert (messages.SNAPSHOT_LAST in parts) is ends
