"""Who receives a stream: begins at a key frame, and loses whole groups of pictures when it reads too slowly.

Source: discrepancies C4.12 and C4.15.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from rop_server.media.packets import MediaFrame

BACKLOG_LIMIT = 4 * 1024 * 1024
"""Bytes that may wait for one viewer; one more frame may stand above it."""


class Viewer(ABC):
    """One viewer. Frames come by `offer`; the stream says once that it has `ended`.

    `share`: bytes it may keep waiting when there are so many viewers that not all can have the full limit.
    """

    __slots__ = ("dropped", "gaps", "share", "waiting")

    def __init__(self) -> None:
        self.share = BACKLOG_LIMIT
        self.waiting = True
        self.dropped = 0
        self.gaps = 0

    @abstractmethod
    def backlog(self) -> int:
        """Bytes that wait to be sent."""

    @abstractmethod
    def send(self, frame: MediaFrame) -> None:
        """Queue one frame."""

    @abstractmethod
    def ended(self, reason: str) -> None:
        """The stream is over."""

    def offer(self, frame: MediaFrame) -> bool:
        """Send a frame unless the viewer waits for a key frame or is too far behind. False: dropped."""
        limit = min(BACKLOG_LIMIT, self.share)
        if self.waiting:
            if not frame.key:
                return False
            if self.gaps and self.backlog() > limit // 2:
                self.dropped += 1
                return False
            self.waiting = False
        elif self.backlog() > limit:
            self.waiting = True
            self.gaps += 1
            self.dropped += 1
            return False
        self.send(frame)
        return True

    def begin(self, frames: list[MediaFrame]) -> None:
        """Send what is cached, which begins with a key frame; without it wait for one."""
        self.waiting = not frames
        for frame in frames:
            self.send(frame)
