"""A camera's settings and how it answers commands. Pure but for the file its settings live in."""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rop_sim import air, files
from rop_sim.head import Head
from rop_sim.recordings import Shelf
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.errors import WireError
from rop_wire.messages import GeneralConfig, PirConfig
from rop_wire.packet import BAD_REQUEST, OK, Packet

# A picture of one pixel, for a camera without ffmpeg.
STILL = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb004300"
    + "10" * 64
    + "ffc0000b080001000101011100ffc40014000100000000000000000000000000000000"
    + "ffc40014100100000000000000000000000000000000ffda0008010100003f003fffd9"
)


@dataclass(slots=True)
class Pir:
    """PIR settings; sensitivity in percent."""

    enabled: bool = True
    sensitivity: int = 50
    reduceMistakes: bool = False


@dataclass(slots=True)
class Settings:
    """What a camera keeps over restarts. The names are those of the file."""

    deviceName: str = "Camera"
    firmware: str = "v3.1.0.1000_24010100"
    pir: Pir = field(default_factory=Pir)
    alarm: bool = False
    battery: int = 80
    charge: int = 0
    ptz: str = "stop"
    wifi: str = air.AROUND[0].ssid
    country: str = "DE"
    # It joined a network that its key does not open: nobody reaches it by WiFi.
    astray: bool = False


@dataclass(frozen=True, slots=True)
class Traits:
    """What a camera is made of."""

    uid: str
    model: str = "ROP Virtual"
    battery: bool = False
    ptz: bool = False
    h265: bool = False
    wired: bool = True
    wifi: bool = False

    @property
    def family(self) -> str:
        """As told in the handshake."""
        return "battery" if self.battery else "powered"

    @property
    def radio(self) -> bool:
        """Whether it has WiFi."""
        return self.wifi or self.battery or not self.wired

    @property
    def network(self) -> str:
        """As told in the handshake and the network report."""
        return "wire" if self.wired and not self.battery else "wifi"


class Device:
    """Settings and answers of one camera. `path` None keeps the settings in memory."""

    def __init__(
        self, traits: Traits, path: Path | None, log: files.DeviceLog, shelf: Shelf | None = None
    ) -> None:
        self.traits = traits
        self.shelf = shelf or Shelf()
        self.head = Head()
        self.drain_per_hour = 0.0
        self._drained_at = time.monotonic()
        self.log = log
        self._path = path
        raw = files.read_json(path) if path is not None else None
        self.settings = Settings(**{**raw, "pir": Pir(**raw["pir"])}) if raw else Settings()

    def save(self) -> None:
        """Keep the settings."""
        if self._path is not None:
            files.write_json(self._path, asdict(self.settings))

    def handshake(self) -> bytes:
        """Payload of the handshake."""
        traits = self.traits
        return messages.Handshake(
            traits.uid, traits.family, traits.model, self.settings.firmware, traits.network
        ).encode()

    def heartbeat(self) -> bytes:
        """Payload of a heartbeat on 61003, always with the battery state."""
        self.drain(time.monotonic())
        state = messages.BatteryState(self.settings.battery, self.settings.charge)
        return messages.Heartbeat(state).encode()

    def drain(self, now: float) -> None:
        """Use the battery up, `drain_per_hour` percent an hour. `now`: monotonic seconds."""
        if not self.drain_per_hour:
            return
        percent = int((now - self._drained_at) / 3600 * self.drain_per_hour)
        if percent <= 0:
            return
        self._drained_at += percent * 3600 / self.drain_per_hour
        self.settings.battery = max(0, self.settings.battery - percent)
        self.save()
        self.log("battery", percent=self.settings.battery)

    def answer(self, request: Packet) -> list[Packet]:
        """Responses to a command of the server; unknown ones are refused with 400."""
        try:
            return self._answer(request)
        except WireError:
            return [request.reply(BAD_REQUEST)]

    def _answer(self, request: Packet) -> list[Packet]:
        settings = self.settings
        match request.command:
            case Command.GET_GENERAL:
                return [request.reply(OK, GeneralConfig(settings.deviceName).encode())]
            case Command.GET_PIR:
                pir = settings.pir
                known = PirConfig(pir.enabled, pir.sensitivity, pir.reduceMistakes)
                return [request.reply(OK, known.encode())]
            case Command.GET_ALARM_SWITCH:
                return [request.reply(OK, messages.AlarmSwitch(settings.alarm).encode())]
            case Command.SUPPORT:
                return [request.reply(OK, self._support().encode())]
            case Command.GET_WIFI | Command.SET_WIFI | Command.TEST_WIFI if self.traits.radio:
                return [self._wifi(request)]
            case Command.SET_GENERAL | Command.SET_PIR | Command.SET_ALARM_SWITCH | Command.PTZ:
                self._write(request)
                return [request.reply()]
            case Command.SNAPSHOT:
                first = request.reply(OK, messages.EMPTY_DOCUMENT)
                return [first, request.reply(messages.SNAPSHOT_LAST, STILL)]
            case Command.FIND_FILES:
                wanted = messages.FindFiles.decode(request.payload)
                return [request.reply(OK, self.shelf.page(wanted).encode())]
            case Command.FILE_INFO:
                asked = messages.FileInfo.decode(request.payload)
                found = self.shelf.find(asked.channel, asked.file_name)
                told = messages.FileInfoReply(found.channel if found else None)
                return [request.reply(OK, told.encode())]
            case Command.CALENDAR:
                month = messages.CalendarGet.decode(request.payload)
                return [request.reply(OK, self.shelf.days(month).encode())]
            case _:
                return [request.reply(BAD_REQUEST)]

    def _support(self) -> messages.Support:
        kind = 5 if self.traits.ptz else 0
        return messages.Support((messages.Channel(0, 7, kind, 0, 1 if self.traits.radio else 0),))

    def _wifi(self, request: Packet) -> Packet:
        settings = self.settings
        if request.command == Command.GET_WIFI:
            if messages.is_wifi_scan(request.payload):
                return request.reply(OK, air.scan().encode())
            channel = next((net.channel for net in air.AROUND if net.ssid == settings.wifi), None)
            return request.reply(OK, messages.WifiConfig(settings.wifi, channel, settings.country).encode())
        wanted = messages.WifiSet.decode(request.payload)
        network = air.fitting(wanted)
        word = "test-wifi" if request.command == Command.TEST_WIFI else "write"
        if word == "write":
            # Joined without a try, as real cameras do.
            settings.wifi, settings.country = wanted.ssid, wanted.country_code
            settings.astray = network is None
            self.save()
        self.log(word, command=request.command, wifi=wanted.ssid, usable=network is not None)
        return request.reply(OK if network is not None or word == "write" else BAD_REQUEST)

    def _write(self, request: Packet) -> None:
        settings, facts = self.settings, dict[str, Any]()
        if request.command == Command.SET_GENERAL:
            name = GeneralConfig.decode(request.payload).device_name
            if name is None:
                raise WireError("no name")
            settings.deviceName = facts["deviceName"] = name
        elif request.command == Command.SET_PIR:
            told = PirConfig.decode(request.payload)
            if told.sensitivity_percent is None or not 0 <= told.sensitivity_percent <= 100:
                raise WireError("sensitivity out of range")
            settings.pir = Pir(told.enabled, told.sensitivity_percent, told.reduce_mistakes)
            facts["pir"] = asdict(settings.pir)
        elif request.command == Command.SET_ALARM_SWITCH:
            settings.alarm = facts["alarm"] = messages.AlarmSwitch.decode(request.payload).enabled
        else:
            if not self.traits.ptz:
                raise WireError("no PTZ")
            wanted = messages.Ptz.decode(request.payload)
            settings.ptz = facts["ptz"] = wanted.action
            self.head.act(wanted.action, wanted.speed, time.monotonic())
        self.save()
        self.log("write", command=request.command, **facts)
