"""Addresses of live streams and recordings: the two play-session calls.

Source: ROP v1.0 wire specification, client-api 2.11 and 2.12.
"""

from __future__ import annotations

from rop_server.client import validation
from rop_server.client.exchange import Answer, Asked, Calls, encode
from rop_server.media.sessions import PlaySessions
from rop_wire.messages import STREAM_BITS

MAX_FILE_NAME = 255


class PlayCalls:
    """The endpoints that make play sessions."""

    def __init__(self, sessions: PlaySessions) -> None:
        self._sessions = sessions

    def calls(self) -> Calls:
        """Every call by its operation."""
        return {"play_live": self.live, "play_record": self.replay}

    async def live(self, asked: Asked) -> Answer:
        """The address of a live stream."""
        uid = validation.uid(asked.path["uid"])
        document = validation.json_object(await asked.body())
        stream_type = validation.word(document.get("streamType"), "streamType", STREAM_BITS)
        channel = validation.uint(document.get("channel"), "channel", 0, validation.MAX_CHANNEL)
        return _answer(await self._sessions.live(uid, channel, stream_type, asked.caller))

    async def replay(self, asked: Asked) -> Answer:
        """The address of a recording."""
        uid = validation.uid(asked.path["uid"])
        document = validation.json_object(await asked.body())
        file_name = validation.text(document.get("fileName"), "fileName", 1, MAX_FILE_NAME)
        channel = validation.uint(document.get("channel"), "channel", 0, validation.MAX_CHANNEL)
        return _answer(await self._sessions.replay(uid, channel, file_name, asked.caller))


def _answer(made: tuple[str, int]) -> Answer:
    url, seconds = made
    return Answer(encode({"playURL": url, "expiredIn": seconds}))
