"""The viewer behind one RTSP connection: frames to the tracks it set up, sender reports, the end.

Source: ROP v1.0 wire specification, client-api 3.4 and 3.5; discrepancies C4.14, C4.17.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rop_server.media.packets import VIDEO, MediaFrame, Packetizer
from rop_server.media.viewer import Viewer
from rop_server.rtsp.udp import UdpPair
from rop_wire import rtcp
from rop_wire.rtp import interleave

REPORT_PAUSE = 5.0


@dataclass(slots=True)
class Leg:
    """Where one track goes: channels of the connection, or a pair of UDP ports."""

    channels: tuple[int, int] | None = None
    udp: UdpPair | None = None
    packets: int = 0
    octets: int = 0


class Player(Viewer):
    """Sends on an RTSP connection and its UDP ports. `on_end(reason)`: the stream is over, say goodbye."""

    __slots__ = ("_anchor", "_on_begin", "_on_end", "_reported", "_transport", "legs", "sent")

    def __init__(self, transport: asyncio.Transport, on_end: Callable[[str], None]) -> None:
        super().__init__()
        self.legs: dict[int, Leg] = {}
        self.sent = 0
        self._transport = transport
        self._on_end = on_end
        self._on_begin: Callable[[list[MediaFrame]], None] | None = None
        self._anchor: float | None = None
        self._reported = 0.0

    def backlog(self) -> int:
        waiting: int = self._transport.get_write_buffer_size()
        for leg in self.legs.values():
            if leg.udp is not None:
                waiting += leg.udp.queued
        return waiting

    def before(self, on_begin: Callable[[list[MediaFrame]], None] | None) -> None:
        """What to do before the first frame: the answer to PLAY goes out first."""
        self._on_begin = on_begin

    def begin(self, frames: list[MediaFrame]) -> None:
        on_begin, self._on_begin = self._on_begin, None
        if on_begin is not None:
            on_begin(frames)
        self._anchor = None
        self._reported = 0.0
        super().begin(frames)

    def send(self, frame: MediaFrame) -> None:
        leg = self.legs.get(frame.track)
        if leg is None:
            return
        leg.packets += len(frame.packets)
        leg.octets += frame.octets
        self.sent += frame.octets
        if leg.channels is not None:
            self._transport.write(frame.interleaved(leg.channels[0]))
        elif leg.udp is not None:
            leg.udp.push(frame.packets)

    def ended(self, reason: str) -> None:
        self._on_end(reason)

    def report(self, packetizer: Packetizer, wall: float, now: float) -> None:
        """A sender report for each track, when it is time. `wall` is epoch seconds, `now` monotonic."""
        if now - self._reported < REPORT_PAUSE or self.waiting:
            return
        self._reported = now
        elapsed = packetizer.elapsed
        if self._anchor is None:
            self._anchor = wall - elapsed / 1e6
        for track, leg in self.legs.items():
            if leg.packets:
                numbered = packetizer.video_track if track == VIDEO else packetizer.audio_track
                self._control(
                    leg,
                    rtcp.sender_report(
                        numbered.ssrc,
                        self._anchor + elapsed / 1e6,
                        packetizer.timestamp(track, elapsed),
                        leg.packets,
                        leg.octets,
                    ),
                )

    def goodbye(self, packetizer: Packetizer) -> None:
        """RTCP BYE on every track."""
        for track, leg in self.legs.items():
            numbered = packetizer.video_track if track == VIDEO else packetizer.audio_track
            self._control(leg, rtcp.bye(numbered.ssrc))

    def _control(self, leg: Leg, packet: bytes) -> None:
        if leg.channels is not None:
            self._transport.write(interleave(leg.channels[1], packet))
        elif leg.udp is not None:
            leg.udp.control(packet)

    def drop(self, track: int) -> None:
        """Take a track away."""
        leg = self.legs.pop(track, None)
        if leg is not None and leg.udp is not None:
            leg.udp.close()

    def close(self) -> None:
        """Give every port back."""
        for track in list(self.legs):
            self.drop(track)
