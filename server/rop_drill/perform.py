"""One drill from its start to its report, whatever happens in between."""

import asyncio
import signal
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rop_drill.diary import Diary
from rop_drill.drill import Inputs, drill
from rop_drill.reasons import DrillFailed, Reason
from rop_drill.scratch import SHARED_MEMORY, scratch

PASSED, FAILED = "Passed", "Failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason` None: passed. `document` is what the report says."""

    reason: Reason | None
    document: dict[str, Any] = field(repr=False)


def perform(
    inputs: Inputs,
    seconds: float,
    on_step: Callable[[str], None] = lambda _: None,
    place: Path = SHARED_MEMORY,
) -> Outcome:
    """Drill within so many seconds, in memory at `place`. Nothing is left when this returns."""
    started, diary = datetime.now(UTC), Diary(on_step)
    reason, message = None, "every step passed"
    try:
        with scratch(place) as found:
            diary.facts["storage"] = {"fileSystem": found.file_system, "swap": found.swap}
            asyncio.run(_bounded(inputs, found.folder, diary, seconds))
    except DrillFailed as failure:
        reason, message = failure.reason, failure.told
    return Outcome(reason, _document(diary, started, reason, message))


async def _bounded(inputs: Inputs, folder: Path, diary: Diary, seconds: float) -> None:
    """The drill, ended by its time or by a signal. Raises DrillFailed."""
    task = asyncio.current_task()
    assert task is not None
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        async with asyncio.timeout(seconds):
            await drill(inputs, folder, diary)
    except TimeoutError:
        raise DrillFailed(Reason.TIMED_OUT, f"{seconds:g} s were over at {diary.current}") from None
    except asyncio.CancelledError:
        if not stopped:
            raise
        raise DrillFailed(Reason.INTERRUPTED, f"stopped at {diary.current}") from None


def _document(diary: Diary, started: datetime, reason: Reason | None, message: str) -> dict[str, Any]:
    facts = diary.facts
    return {
        "formatVersion": 1,
        "id": uuid.uuid4().hex,
        "program": _version(),
        "started": started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "result": FAILED if reason else PASSED,
        "reason": reason.text if reason else None,
        "message": message,
        "rpoSeconds": facts.get("rpoSeconds"),
        "rtoSeconds": facts.get("rtoSeconds"),
        "archive": facts.get("archive"),
        "rootKeyOpened": facts.get("rootKeyOpened"),
        "deniedDevices": facts.get("denied"),
        "network": facts.get("network"),
        "storage": facts.get("storage"),
        "steps": [
            {"name": each.name, "passed": each.passed, "seconds": each.seconds, "detail": each.detail}
            for each in diary.steps
        ],
    }


def _version() -> str:
    try:
        return version("rop-operator")
    except PackageNotFoundError:
        return "0"
