"""The rooms of 61009 beyond the settings of devices, joined."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from rop_data.config import Config
from rop_server.client.exchange import Calls
from rop_server.client.firmware import FirmwareCalls
from rop_server.client.passthrough import SignalCalls
from rop_server.client.pictures import PictureCalls
from rop_server.client.ptz import PtzCalls
from rop_server.client.records import RecordCalls
from rop_server.client.wifi import WifiCalls
from rop_server.core.facade import Devices
from rop_server.core.scans import Scans
from rop_server.core.upgrades import Upgrades
from rop_server.core.uploads import Uploads
from rop_server.core.wifi import Wifi


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the rooms need. `raw_commands` tells the numbers clients may send raw."""

    devices: Devices
    config: Callable[[], Config]
    uploads: Uploads
    upgrades: Upgrades
    scans: Scans
    raw_commands: Callable[[], Collection[int]]

    def calls(self) -> list[Calls]:
        """The calls of every room, for `build_client_app(more=...)`."""
        return [
            PtzCalls(self.devices).calls(),
            PictureCalls(self.devices, self.config).calls(),
            RecordCalls(self.devices).calls(),
            WifiCalls(Wifi(self.devices), self.config, self.scans).calls(),
            FirmwareCalls(self.uploads, self.upgrades, self.config).calls(),
            SignalCalls(self.devices, self.raw_commands).calls(),
        ]
