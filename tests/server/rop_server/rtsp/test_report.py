"""What people and metrics are told about streams."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from rop_server.media.report import StreamReport

UID = "95270000000TEST1"


async def test_rows_and_metrics(place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any) -> None:
    await film_camera(film_of())
    report = StreamReport(place.relay, place.sessions, place.rtsp.connections, place.site.clock.monotonic)
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    await place.sessions.replay(UID, 0, "RecM01.mp4")
    assert report.rows() == [], "an address alone is no stream"
    player = await viewer(url)
    await player.play()
    await until(lambda: player.packets)
    (row,) = report.rows()
    assert (row["uid"], row["kind"], row["name"], row["viewers"]) == (UID, "live", "mainStream", 1)
    assert row["codec"] == "H264" and row["bytes"] > 0

    class Collector:
        def collect(self) -> Any:
            return report.families()

        def describe(self) -> list[Any]:
            return []

    registry = CollectorRegistry()
    registry.register(Collector())  # type: ignore[arg-type]
    page = generate_latest(registry).decode()
    assert 'rop_streams{kind="live"} 1.0' in page
    assert "rop_stream_viewers 1.0" in page
    assert "rop_play_sessions 2.0" in page
    assert UID not in page
