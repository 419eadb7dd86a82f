"""Log lines on their way to standard output, written by a thread of their own.

A reader that stalls (a full pipe, a paused terminal) must not stall the event loop and with it every camera.
"""

from __future__ import annotations

import io
import queue
import threading
from typing import TextIO

LINES = 20_000


class LogPipe(io.TextIOBase):
    """A text stream with a bounded queue; lines beyond it are dropped and counted."""

    def __init__(self, stream: TextIO, lines: int = LINES) -> None:
        self._stream = stream
        self._limit = lines
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Queue text; never waits."""
        if self._queue.qsize() >= self._limit:
            self._dropped += 1
        else:
            self._queue.put(text)
        return len(text)

    def flush(self) -> None:
        """Nothing to do: the thread flushes."""

    def finish(self, limit: float) -> None:
        """Write what is queued, for at most `limit` seconds."""
        self._queue.put(None)
        self._thread.join(limit)

    def _run(self) -> None:
        over = False
        while not over:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            over = None in batch
            if self._dropped:
                batch.append(f'{{"level":"warning","action":"logs-dropped","lines":{self._dropped}}}\n')
                self._dropped = 0
            try:
                self._stream.write("".join(text for text in batch if text is not None))
                self._stream.flush()
            except (OSError, ValueError):
                continue  # nobody reads any more: serving goes on
