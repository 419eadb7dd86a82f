"""Pictures on their way from devices. Nothing blocks; the caller keeps the time.

Source: ROP v1.0 wire specification, device-protocol 10.9; discrepancies C5.2.
"""

from __future__ import annotations

from collections.abc import Callable

from rop_server.core.connection import Connection
from rop_server.core.facade import CallError
from rop_wire import messages
from rop_wire.packet import OK, Packet

MAX_PICTURE = 16 * 1024 * 1024
"""Bytes of one picture; a camera of 16 megapixels stays far below."""

MAX_HELD = 256 * 1024 * 1024
"""Bytes of all pictures that are not complete: cameras must not fill the memory together."""

_JPEG = b"\xff\xd8"


class Picture:
    """One request 109: its answer, then its parts. `done` is called once unless `Snapshots.forget` comes."""

    __slots__ = ("_answered", "_parts", "connection", "done", "number", "size", "uid")

    def __init__(
        self, uid: str, connection: Connection, number: int, done: Callable[[bytes | CallError], None]
    ) -> None:
        self.uid = uid
        self.connection = connection
        self.number = number
        self.done = done
        self._answered = False
        self._parts: list[bytes] = []
        self.size = 0

    def take(self, status: int, payload: bytes) -> bytes | CallError | None:
        """One packet of the device; what became of the picture when it was the last."""
        if not self._answered:
            self._answered = True
            if status == OK and not payload.startswith(_JPEG):
                return None
        if status not in (messages.SNAPSHOT_MORE, messages.SNAPSHOT_LAST):
            return CallError("cmd_exec_error", f"status {status}", status)
        self.size += len(payload)
        if self.size > MAX_PICTURE:
            return CallError("cmd_exec_error", f"a picture above {MAX_PICTURE} bytes")
        self._parts.append(payload)
        if status == messages.SNAPSHOT_MORE:
            return None
        return b"".join(self._parts) or CallError("cmd_exec_error", "an empty picture")


class Snapshots:
    """The pictures that are being taken, one per device at a time."""

    __slots__ = ("_by_device", "_max_held", "_running", "held")

    def __init__(self, max_held: int = MAX_HELD) -> None:
        self._max_held = max_held
        self.held = 0
        self._running: dict[tuple[Connection, int], Picture] = {}
        self._by_device: dict[str, Picture] = {}

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, uid: str, connection: Connection, done: Callable[[bytes | CallError], None]) -> Picture:
        """Expect a picture under a new request number. Raises `CallError("duplicate_snap")`."""
        if uid in self._by_device:
            raise CallError("duplicate_snap")
        picture = Picture(uid, connection, connection.allot(), done)
        self._by_device[uid] = picture
        self._running[connection, picture.number] = picture
        return picture

    def take(self, connection: Connection, packet: Packet) -> bool:
        """A packet 109; False when it belongs to no picture (any more)."""
        picture = self._running.get((connection, packet.request_id))
        if picture is None:
            return False
        before = picture.size
        result = picture.take(packet.status, packet.payload)
        self.held += picture.size - before
        if result is None and self.held > self._max_held:
            result = CallError("cmd_exec_error", "too many pictures at once")
        if result is not None:
            self.forget(picture)
            picture.done(result)
        return True

    def busy(self, connection: Connection) -> bool:
        """True while a picture is on its way on this connection."""
        picture = self._by_device.get(connection.uid)
        return picture is not None and picture.connection is connection

    def drop(self, connection: Connection) -> None:
        """The connection ended."""
        picture = self._by_device.get(connection.uid)
        if picture is not None and picture.connection is connection:
            self.forget(picture)
            picture.done(CallError("device_signaling_connection_closed"))

    def forget(self, picture: Picture) -> None:
        """Expect no more of it; further packets are late."""
        if self._running.pop((picture.connection, picture.number), None) is None:
            return
        self.held -= picture.size
        if self._by_device.get(picture.uid) is picture:
            del self._by_device[picture.uid]
