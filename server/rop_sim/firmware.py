"""Taking a firmware file: announcement, slices, installation. Pure. Source: device-protocol 10.11."""

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

from rop_sim.faults import Faults
from rop_wire.messages import SLICE_LENGTH, UpgradeBegin
from rop_wire.packet import BAD_REQUEST, OK

SAME_VERSION, CHECK_FAILED, LOW_BATTERY = 401, 402, 408
LOWEST_BATTERY = 20
DISCONNECT = 0
_VERSION = re.compile(r"v\d+(?:\.\d+)+(?:_\d+)?")


class Return(Enum):
    """How a camera comes back from an installation."""

    NEW = "new"
    OLD = "old"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Installation:
    """What happens now. `away` in seconds."""

    firmware: str
    factory_reset: bool
    back: Return
    away: float


def version_in(file_name: str) -> str:
    """The firmware text of a file: the version in its name, else the name without its ending."""
    found = _VERSION.search(file_name)
    return found.group() if found else PurePosixPath(file_name).stem


class Upgrade:
    """One transfer at a time. The methods answer with statuses; DISCONNECT: drop the connection instead."""

    def __init__(self, faults: Faults, reboot_seconds: float = 2.0) -> None:
        self._faults = faults
        self._reboot = reboot_seconds
        self._announced: UpgradeBegin | None = None
        self._received = 0
        self._slices = 0

    @property
    def active(self) -> bool:
        """Whether a file has been announced and neither installed nor refused."""
        return self._announced is not None

    def begin(self, announced: UpgradeBegin, firmware: str, battery: int | None) -> int:
        """The announcement. `battery` in percent, None for a powered camera."""
        self._announced, self._received, self._slices = None, 0, 0
        refusal = self._faults.number("upgrade-refuse")
        if refusal is not None:
            return int(refusal)
        if version_in(announced.file_name) == firmware:
            return SAME_VERSION
        if battery is not None and battery < LOWEST_BATTERY:
            return LOW_BATTERY
        if announced.size == 0:
            return CHECK_FAILED
        self._announced = announced
        return OK

    def slice(self, data: bytes) -> int:
        """A part of the file, in order."""
        if self._announced is None:
            return BAD_REQUEST
        self._slices += 1
        self._received += len(data)
        too_much = len(data) > SLICE_LENGTH or self._received > self._announced.size
        if too_much or self._slices == self._faults.number("upgrade-refuse-slice"):
            self._announced = None
            return CHECK_FAILED
        if self._slices == self._faults.number("upgrade-disconnect"):
            self._announced = None
            return DISCONNECT
        return OK

    def install(self, firmware: str) -> Installation | None:
        """The order to install: what happens, None when the file is not whole."""
        announced, self._announced = self._announced, None
        if announced is None or self._received != announced.size:
            return None
        back, away = Return.NEW, self._reboot
        if "upgrade-never-back" in self._faults:
            back = Return.NEVER
        elif "upgrade-old-version" in self._faults:
            back = Return.OLD
        late = self._faults.number("upgrade-late")
        new = version_in(announced.file_name) if back is Return.NEW else firmware
        return Installation(new, announced.factory_reset, back, away if late is None else late)
