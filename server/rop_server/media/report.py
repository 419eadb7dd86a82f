"""What goes on in streams right now: rows for people, families for metrics. No UID is a label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from rop_server.media.play import PlaySession
from rop_server.media.relay import Relay
from rop_server.media.sessions import PlaySessions
from rop_wire.play_url import LivePlay

_COUNTERS = {
    "received": ("rop_stream_received_bytes", "Media bytes that arrived from cameras"),
    "frames": ("rop_stream_frames", "Frames that went to viewers or into the cache"),
    "dropped": ("rop_stream_dropped_frames", "Frames viewers lost because they read too slowly"),
    "skipped": ("rop_stream_skipped_bytes", "Media bytes that belonged to no frame"),
}


class StreamReport:
    """Reads relay and sessions when asked; keeps nothing. `players`: the RTSP connections."""

    def __init__(self, relay: Relay, sessions: PlaySessions, players: Sized, now: Callable[[], float]) -> None:
        self._relay = relay
        self._sessions = sessions
        self._players = players
        self._now = now

    def rows(self) -> list[dict[str, Any]]:
        """Each running stream: who sends what to how many; `bytes`, `frames` so far, `idle` seconds without data.

        Rates are the difference of two readings.
        """
        return [self._row(each) for each in self._sessions.sessions if each.stream is not None]

    def _row(self, session: PlaySession) -> dict[str, Any]:
        play, stream = session.play, session.stream
        assert stream is not None
        live = isinstance(play, LivePlay)
        return {
            "uid": play.uid,
            "channel": play.channel,
            "kind": "live" if live else "recording",
            "name": play.stream_type if isinstance(play, LivePlay) else play.file_name,
            "handle": play.request_id,
            "codec": session.info.codec.name if session.info is not None else None,
            "viewers": len(stream.viewers),
            "connections": session.users,
            "bytes": stream.received,
            "frames": stream.frames,
            "dropped": stream.dropped,
            "idle": round(self._now() - stream.active_at, 1),
        }

    def families(self) -> Iterator[Metric]:
        """For the metrics page."""
        live = sum(not each.recording for each in self._relay.streams)
        kinds = GaugeMetricFamily("rop_streams", "Running streams", labels=["kind"])
        kinds.add_metric(["live"], live)
        kinds.add_metric(["recording"], len(self._relay) - live)
        yield kinds
        yield GaugeMetricFamily("rop_stream_viewers", "Viewers that receive a stream", value=self._relay.viewers)
        yield GaugeMetricFamily("rop_rtsp_connections", "Connections on the RTSP port", value=len(self._players))
        yield GaugeMetricFamily("rop_play_sessions", "Play addresses that are valid", value=len(self._sessions))
        counts = self._relay.counts
        for name, (metric, text) in _COUNTERS.items():
            yield CounterMetricFamily(metric, text, value=counts[name])
        yield CounterMetricFamily(
            "rop_stream_unknown_packets", "Media packets for no stream", value=self._relay.unknown
        )
