"""Settings: general configuration, PIR, alarm switch; wake-up and sleep.

Source: ROP v1.0 wire specification, device-protocol 9.4, 9.6, 10.2, 10.3.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from rop_wire import xml
from rop_wire.commands import Command
from rop_wire.errors import EncodeError, ProtocolError
from rop_wire.messages.document import Message

DEVICE_NAME = re.compile(r"(?! )[-a-zA-Z0-9 ]{1,31}(?<! )")
"""What a client may set as a device name (client-api 2.4)."""


@dataclass(frozen=True, slots=True)
class GeneralConfigGet(Message):
    """Ask for the general configuration."""

    command: ClassVar[Command] = Command.GET_GENERAL


@dataclass(frozen=True, slots=True)
class PirGet(Message):
    """Ask for the PIR configuration."""

    command: ClassVar[Command] = Command.GET_PIR


@dataclass(frozen=True, slots=True)
class AlarmSwitchGet(Message):
    """Ask for the alarm report switch."""

    command: ClassVar[Command] = Command.GET_ALARM_SWITCH


@dataclass(frozen=True, slots=True)
class WakeUp(Message):
    """Ask a battery device to open its signaling connection."""

    command: ClassVar[Command] = Command.WAKE_UP


@dataclass(frozen=True, slots=True)
class Sleep(Message):
    """Let a battery device sleep; after an upgrade: install."""

    command: ClassVar[Command] = Command.SLEEP


@dataclass(frozen=True, slots=True)
class GeneralConfig(Message):
    """General configuration of a device; the name may be missing."""

    command: ClassVar[Command] = Command.GET_GENERAL
    device_name: str | None

    def encode(self) -> bytes:
        """The payload."""
        told = {} if self.device_name is None else {"attr012": self.device_name}
        return xml.build({"Param007": told})

    @classmethod
    def decode(cls, payload: bytes) -> "GeneralConfig":
        """Parse the payload."""
        tree = xml.parse(payload)
        if not xml.present(tree, "Param007"):
            raise ProtocolError("general configuration without Param007")
        name = xml.text(tree, "Param007", "attr012")
        return cls("" if name is None and xml.present(tree, "Param007", "attr012") else name)


@dataclass(frozen=True, slots=True)
class GeneralConfigSet(GeneralConfig):
    """Set the device name."""

    command: ClassVar[Command] = Command.SET_GENERAL


@dataclass(frozen=True, slots=True)
class PirConfig(Message):
    """PIR configuration; `sensitivity_percent` is 0..100, None when the device sent no number."""

    command: ClassVar[Command] = Command.GET_PIR
    enabled: bool
    sensitivity_percent: int | None
    reduce_mistakes: bool

    def encode(self) -> bytes:
        """The payload, in the order the vendor writes it."""
        if self.sensitivity_percent is None or not 0 <= self.sensitivity_percent <= 100:
            raise EncodeError("PIR sensitivity is a percentage")
        told = {
            "attr002": int(self.enabled),
            "attr003": 101 - self.sensitivity_percent,
            "attr001": int(self.reduce_mistakes),
        }
        return xml.build({"Param016": told})

    @classmethod
    def decode(cls, payload: bytes) -> "PirConfig":
        """Parse the payload."""
        tree = xml.parse(payload)
        if not xml.present(tree, "Param016"):
            raise ProtocolError("PIR configuration without Param016")
        told = xml.child(tree, "Param016")
        device = xml.integer(told, "attr003")
        return cls(xml.flag(told, "attr002"), None if device is None else 101 - device, xml.flag(told, "attr001"))


@dataclass(frozen=True, slots=True)
class PirSet(PirConfig):
    """Set the whole PIR configuration."""

    command: ClassVar[Command] = Command.SET_PIR


@dataclass(frozen=True, slots=True)
class AlarmSwitch(Message):
    """Whether the device reports alarms."""

    command: ClassVar[Command] = Command.GET_ALARM_SWITCH
    enabled: bool

    def encode(self) -> bytes:
        """The payload."""
        return xml.build({"Param011": {"attr001": int(self.enabled)}})

    @classmethod
    def decode(cls, payload: bytes) -> "AlarmSwitch":
        """Parse the payload."""
        tree = xml.parse(payload)
        if not xml.present(tree, "Param011"):
            raise ProtocolError("alarm switch without Param011")
        return cls(xml.flag(tree, "Param011", "attr001"))


@dataclass(frozen=True, slots=True)
class AlarmSwitchSet(AlarmSwitch):
    """Set the alarm report switch."""

    command: ClassVar[Command] = Command.SET_ALARM_SWITCH
