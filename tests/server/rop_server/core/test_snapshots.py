"""Pictures on their way: parts, ends, late packets. Source: device-protocol 10.9."""

from __future__ import annotations

import pytest

from rop_server.core.connection import SIGNALING, Connection
from rop_server.core.facade import CallError
from rop_server.core.snapshots import MAX_PICTURE, Snapshots
from rop_wire.commands import Command
from rop_wire.messages import EMPTY_DOCUMENT
from rop_wire.packet import RESPONSE, Packet

UID = "95270000000TEST1"


class Line(Connection):
    """A connection that goes nowhere."""

    def __init__(self) -> None:
        super().__init__(SIGNALING, "192.0.2.1", 0.0)
        self.uid = UID

    def send(self, packet: Packet) -> None:
        raise AssertionError("nothing is sent here")

    def proves(self, uid: str) -> bool:
        return uid == self.uid

    def close(self, reason: str) -> None:
        raise AssertionError("nobody closes")

    def abort(self) -> None:
        raise AssertionError("nobody aborts")


def feed(*packets: tuple[int, bytes]) -> list[bytes | CallError]:
    """What became of a picture after these packets of status and payload."""
    snapshots, line = Snapshots(), Line()
    ends: list[bytes | CallError] = []
    picture = snapshots.begin(UID, line, ends.append)
    for status, payload in packets:
        snapshots.take(line, Packet(RESPONSE, Command.SNAPSHOT, picture.number, status, payload))
    assert snapshots.busy(line) is not bool(ends)
    if ends:
        assert snapshots.held == 0
    return ends


JPEG = b"\xff\xd8 picture"


@pytest.mark.parametrize(
    ("packets", "picture"),
    [
        ([(200, EMPTY_DOCUMENT), (201, JPEG)], JPEG),
        ([(200, b""), (200, JPEG), (201, b"")], JPEG),
        ([(200, EMPTY_DOCUMENT), (200, b""), (200, JPEG[:3]), (201, JPEG[3:])], JPEG),
        ([(200, JPEG[:3]), (201, JPEG[3:])], JPEG),
        ([(201, JPEG)], JPEG),
        ([(200, EMPTY_DOCUMENT), (200, JPEG)], None),
        ([(400, b"")], "cmd_exec_error"),
        ([(200, EMPTY_DOCUMENT), (200, JPEG), (500, b"")], "cmd_exec_error"),
        ([(200, EMPTY_DOCUMENT), (201, b"")], "cmd_exec_error"),
        ([(200, EMPTY_DOCUMENT), (200, bytes(MAX_PICTURE)), (200, b"x")], "cmd_exec_error"),
    ],
)
def test_packets_become_a_picture(packets: list[tuple[int, bytes]], picture: bytes | str | None) -> None:
    ends = feed(*packets)
    told = [each.symbol if isinstance(each, CallError) else each for each in ends]
    assert told == ([] if picture is None else [picture])


def test_one_at_a_time_and_nothing_late() -> None:
    snapshots, line = Snapshots(), Line()
    ends: list[bytes | CallError] = []
    first = snapshots.begin(UID, line, ends.append)
    with pytest.raises(CallError, match="duplicate_snap"):
        snapshots.begin(UID, line, ends.append)
    snapshots.forget(first)
    second = snapshots.begin(UID, line, ends.append)
    assert second.number != first.number
    assert not snapshots.take(line, Packet(RESPONSE, Command.SNAPSHOT, first.number, 201, JPEG))
    assert not snapshots.take(Line(), Packet(RESPONSE, Command.SNAPSHOT, second.number, 201, JPEG))
    snapshots.drop(Line())
    assert ends == []
    snapshots.drop(line)
    assert [str(each) for each in ends] == ["device_signaling_connection_closed"]
    assert len(snapshots) == 0


def test_all_pictures_together_are_bounded() -> None:
    snapshots = Snapshots(max_held=100)
    ends: dict[str, bytes | CallError] = {}
    lines = [Line() for _ in range(3)]
    for number, line in enumerate(lines):
        line.uid = f"95270000000TEST{number}"
        picture = snapshots.begin(line.uid, line, lambda end, uid=line.uid: ends.update({uid: end}))
        snapshots.take(line, Packet(RESPONSE, Command.SNAPSHOT, picture.number, 200, JPEG[:2] + bytes(40)))
    assert list(ends) == ["95270000000TEST2"]
    assert snapshots.held == 84
    for line in lines:
        snapshots.drop(line)
    assert (snapshots.held, len(snapshots)) == (0, 0)
