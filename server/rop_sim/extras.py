"""What a virtual camera may have beyond its traits."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Extras:
    """What a camera has beyond its traits. `media` None: ffmpeg's test source; `recordings` in its memory card;
    `connect_to`: the address at which a hand-over finds its server, None: as the host resolves.
    """

    media: Path | None = None
    recordings: int = 0
    faults: tuple[str, ...] = ()
    reboot_seconds: float = 2.0
    drain_per_hour: float = 0.0
    connect_to: str | None = None
