"""Every running stream of the server, found by UID and handle; fed by the media connections.

Source: ROP v1.0 wire specification, device-protocol 11.1; discrepancies C4.8, C4.9, C4.19.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

import structlog

from rop_server.media.stream import Stream

log = structlog.get_logger("rop.media")


CACHE_TOTAL = 512 * 1024 * 1024
BACKLOG_TOTAL = 512 * 1024 * 1024
"""Bytes for groups of pictures and for slow viewers, of all streams together: fits a host of 4 GB."""


class Relay:
    """The table of streams. Counters only grow: `received` bytes, `unknown` packets, `dropped` frames."""

    def __init__(self, now: Callable[[], float], silence_limit: Callable[[], float]) -> None:
        self._now = now
        self._silence_limit = silence_limit
        self._streams: dict[tuple[str, int], Stream] = {}
        self._by_carrier: dict[Hashable, set[Stream]] = {}
        self.unknown = 0
        self._ended = {"received": 0, "dropped": 0, "skipped": 0, "frames": 0}

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def streams(self) -> Iterable[Stream]:
        """The running streams."""
        return self._streams.values()

    @property
    def viewers(self) -> int:
        """Viewers that receive a stream."""
        return sum(len(each.viewers) for each in self._streams.values())

    @property
    def counts(self) -> Mapping[str, int]:
        """Totals since the start: `received` and `skipped` bytes, `frames`, `dropped` frames of slow viewers."""
        told = dict(self._ended)
        for stream in self._streams.values():
            for name in told:
                told[name] += getattr(stream, name)
        return told

    def taken(self, uid: str, handle: int) -> bool:
        """Whether a stream has this handle."""
        return (uid, handle) in self._streams

    def open(self, uid: str, handle: int, recording: bool, on_end: Callable[[str], None]) -> Stream:
        """Register a stream before the camera is told to start. `on_end(reason)` is called once."""

        def ended(stream: Stream, reason: str) -> None:
            self._forget(stream)
            told = {"reason": reason, "received": stream.received}
            log.info("stream-end", uid=uid, connection=stream.source, handle=handle, **told)
            on_end(reason)

        stream = Stream(uid, handle, recording, self._now, ended)
        self._streams[uid, handle] = stream
        return stream

    def _forget(self, stream: Stream) -> None:
        self._streams.pop((stream.uid, stream.handle), None)
        for name in self._ended:
            self._ended[name] += getattr(stream, name)
        for carrier in stream.carriers:
            others = self._by_carrier.get(carrier)
            if others is not None:
                others.discard(stream)
                if not others:
                    del self._by_carrier[carrier]

    def received(
        self, carrier: Hashable, uid: str, handle: int, recording: bool, status: int, data: bytes
    ) -> None:
        """A media packet. Data for an unknown handle are dropped."""
        stream = self._streams.get((uid, handle))
        if stream is None or stream.recording is not recording:
            self.unknown += 1
            return
        if carrier not in stream.carriers:
            self._by_carrier.setdefault(carrier, set()).add(stream)
            stream.source = str(carrier)
            log.info("stream-data", uid=uid, connection=stream.source, handle=handle)
        stream.feed(data, status, carrier)

    def carrier_lost(self, carrier: Hashable) -> None:
        """A media connection ended: its streams end with it, no others. A paused recording stays."""
        for stream in self._by_carrier.pop(carrier, set()):
            stream.carriers.discard(carrier)
            if not (stream.paused or stream.finished or stream.carriers):
                stream.end("media connection lost")

    def tick(self) -> None:
        """End streams whose camera has been silent for too long, share out the memory. Once per second."""
        now, limit = self._now(), self._silence_limit()
        cache, backlog = CACHE_TOTAL // max(1, len(self)), BACKLOG_TOTAL // max(1, self.viewers)
        for stream in list(self._streams.values()):
            stream.share = cache
            for viewer in stream.viewers:
                viewer.share = backlog
            if not (stream.paused or stream.finished) and now - stream.active_at >= limit:
                stream.end("no media")

    def close(self) -> None:
        """End every stream."""
        for stream in list(self._streams.values()):
            stream.end("stopping")
