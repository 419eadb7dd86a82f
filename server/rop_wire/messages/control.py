"""PTZ, WiFi, firmware upgrade.

Source: ROP v1.0 wire specification, device-protocol 10.4, 10.10, 10.11.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from rop_wire import xml
from rop_wire.commands import Command
from rop_wire.errors import EncodeError, ProtocolError
from rop_wire.messages.document import Message

ROTATIONS = ("left", "right", "up", "down", "leftUp", "leftDown", "rightUp", "rightDown")
PTZ_ACTIONS = ("zoomInc", "zoomDec", "focusInc", "focusDec", "stop", *ROTATIONS)
SLICE_LENGTH = 36864
SLICES_IN_FLIGHT = 30
UPGRADE_EXTENSION = xml.build({"binaryData": 1}, root="Extension")
UPGRADE_REFUSALS = {
    401: "same_version",
    402: "file_check_failed",
    403: "failed",
    404: "out_of_memory",
    407: "focus_error",
    408: "low_battery",
}


@dataclass(frozen=True, slots=True)
class Ptz(Message):
    """Move a channel. `speed` (1..64) goes with rotations and their stop."""

    command: ClassVar[Command] = Command.PTZ
    channel: int
    action: str
    speed: int | None = None

    def encode(self) -> bytes:
        """The payload."""
        if self.action not in PTZ_ACTIONS:
            raise EncodeError(f"unknown PTZ action {self.action!r}")
        told: dict[str, object] = {"attr001": self.channel, "attr002": self.action}
        if self.speed is not None:
            if not 1 <= self.speed <= 64:
                raise EncodeError("PTZ speed is 1..64")
            told["speed"] = self.speed
        return xml.build({"Param017": told})

    @classmethod
    def decode(cls, payload: bytes) -> "Ptz":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param017")
        channel, action = xml.integer(told, "attr001"), xml.text(told, "attr002")
        if channel is None or action not in PTZ_ACTIONS:
            raise ProtocolError("PTZ without channel or action")
        return cls(channel, action, xml.integer(told, "speed"))


@dataclass(frozen=True, slots=True)
class WifiGet(Message):
    """Ask for the WiFi in use."""

    command: ClassVar[Command] = Command.GET_WIFI

    def encode(self) -> bytes:
        """The payload."""
        return xml.build({"Param019": {"attr008": 1}})


@dataclass(frozen=True, slots=True)
class WifiScan(Message):
    """Ask for the WiFi networks around; the device may take 30 s."""

    command: ClassVar[Command] = Command.GET_WIFI

    def encode(self) -> bytes:
        """The payload."""
        return xml.build({"Param019": {"attr008": 0}})


def is_wifi_scan(payload: bytes) -> bool:
    """Whether a request 116 asks for a scan (True) or for the configuration (False)."""
    return not xml.flag(xml.parse(payload), "Param019", "attr008")


@dataclass(frozen=True, slots=True)
class WifiConfig(Message):
    """The WiFi in use."""

    command: ClassVar[Command] = Command.GET_WIFI
    ssid: str
    channel: int | None
    country_code: str | None

    def encode(self) -> bytes:
        """The payload."""
        told = {"attr004": self.ssid, "attr006": self.channel, "attr007": self.country_code}
        return xml.build({"Param019": told})

    @classmethod
    def decode(cls, payload: bytes) -> "WifiConfig":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param019")
        return cls(xml.text(told, "attr004") or "", xml.integer(told, "attr006"), xml.text(told, "attr007"))


@dataclass(frozen=True, slots=True)
class WifiNetwork:
    """One network of a scan: signal in dBm; `encrypted` None when the device does not say."""

    ssid: str
    signal: int | None
    encrypted: bool | None


@dataclass(frozen=True, slots=True)
class WifiNetworks(Message):
    """Result of a scan; one entry or none are fine (discrepancies C3.9)."""

    command: ClassVar[Command] = Command.GET_WIFI
    networks: tuple[WifiNetwork, ...]

    def encode(self) -> bytes:
        """The payload."""
        entries = [
            {
                "attr001": each.ssid,
                "attr002": each.signal,
                "attr003": None if each.encrypted is None else int(each.encrypted),
            }
            for each in self.networks
        ]
        return xml.build({"Param019": {"attr003": {"attr001": entries}}})

    @classmethod
    def decode(cls, payload: bytes) -> "WifiNetworks":
        """Parse the payload; entries without a name are dropped."""
        words = {"0": False, "1": True}
        found = xml.items(xml.parse(payload), "Param019", "attr003", "attr001")
        return cls(
            tuple(
                WifiNetwork(name, xml.integer(entry, "attr002"), words.get(xml.text(entry, "attr003") or ""))
                for entry in found
                if (name := xml.text(entry, "attr001"))
            )
        )


@dataclass(frozen=True, slots=True)
class WifiSet(Message):
    """Join a WiFi network."""

    command: ClassVar[Command] = Command.SET_WIFI
    ssid: str
    key: str = field(repr=False)
    country_code: str

    def encode(self) -> bytes:
        """The payload."""
        told = {
            "attr002": "station",
            "attr004": self.ssid,
            "attr005": self.key,
            "attr007": self.country_code,
        }
        return xml.build({"Param019": told})

    @classmethod
    def decode(cls, payload: bytes) -> "WifiSet":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param019")
        ssid = xml.text(told, "attr004")
        if not ssid:
            raise ProtocolError("WiFi without SSID")
        return cls(ssid, xml.text(told, "attr005") or "", xml.text(told, "attr007") or "")


@dataclass(frozen=True, slots=True)
class WifiTest(WifiSet):
    """Try a WiFi network without joining it."""

    command: ClassVar[Command] = Command.TEST_WIFI


@dataclass(frozen=True, slots=True)
class UpgradeBegin(Message):
    """Announce a firmware file; `size` in bytes."""

    command: ClassVar[Command] = Command.UPGRADE
    file_name: str
    size: int
    factory_reset: bool

    def encode(self) -> bytes:
        """The payload."""
        told = {"attr001": self.file_name, "attr002": self.size, "attr004": int(self.factory_reset)}
        return xml.build({"Param012": told})

    @classmethod
    def decode(cls, payload: bytes) -> "UpgradeBegin":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param012")
        name, size = xml.text(told, "attr001"), xml.integer(told, "attr002")
        if not name or size is None or size < 0:
            raise ProtocolError("upgrade without file name or size")
        return cls(name, size, xml.text(told, "attr004") == "1")


@dataclass(frozen=True, slots=True)
class UpgradeSlice(Message):
    """Up to 36864 bytes of the firmware file; recognised by its extension."""

    command: ClassVar[Command] = Command.UPGRADE
    data: bytes = field(repr=False)

    def extension(self) -> bytes:
        """The extension XML before the bytes."""
        return UPGRADE_EXTENSION

    def encode(self) -> bytes:
        """The payload: the bytes."""
        if len(self.data) > SLICE_LENGTH:
            raise EncodeError(f"a slice holds at most {SLICE_LENGTH} bytes")
        return self.data


@dataclass(frozen=True, slots=True)
class UpgradeInstall(Message):
    """After the last slice: install and restart."""

    command: ClassVar[Command] = Command.SLEEP
