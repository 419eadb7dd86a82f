"""What devices say by themselves: handshake, heartbeat, alarm, network report, capability.

Source: ROP v1.0 wire specification, device-protocol 7, 9, 10.1.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from rop_wire import xml
from rop_wire.commands import Command
from rop_wire.errors import ProtocolError
from rop_wire.messages.document import Message

STREAM_BITS = {"mainStream": 1, "subStream": 2, "externStream": 4}

# Milliseconds by mobile operator (MCC and MNC) of a 4G device; any other operator: the default.
_OPERATOR_INTERVALS = {
    "22201": 120_000,
    "46000": 1_140_000,
    "46001": 540_000,
    "46011": 1_140_000,
    "53024": 60_000,
    "27205": 120_000,
    "27202": 120_000,
    "21910": 120_000,
    "34002": 120_000,
    "338050": 120_000,
    "51502": 120_000,
    "52503": 120_000,
    "36439": 120_000,
    "54201": 60_000,
    "338180": 120_000,
    "344920": 60_000,
    "348170": 60_000,
}
_OPERATOR_DEFAULT = 240_000


def heartbeat_interval_ms(network: str | None, operator: str | None) -> int | None:
    """Milliseconds between heartbeats on 61003 for a 4G device; None: half of the socket time-out."""
    if network != "4G":
        return None
    return _OPERATOR_INTERVALS.get(operator or "", _OPERATOR_DEFAULT)


@dataclass(frozen=True, slots=True)
class Handshake(Message):
    """First packet of a device on every connection. `family` is `battery` or `powered`."""

    command: ClassVar[Command] = Command.HANDSHAKE
    uid: str
    family: str | None = None
    model: str | None = None
    firmware: str | None = None
    network: str | None = None
    operator: str | None = None

    def encode(self) -> bytes:
        """The payload."""
        told = {
            "attr001": self.uid,
            "attr002": self.family,
            "attr003": self.model,
            "attr004": self.firmware,
            "attr005": self.network,
            "attr006": self.operator,
        }
        return xml.build({"Param013": {name: value for name, value in told.items() if value is not None}})

    @classmethod
    def decode(cls, payload: bytes) -> "Handshake":
        """Parse the payload; the UID is mandatory."""
        told = xml.child(xml.parse(payload), "Param013")
        uid = xml.text(told, "attr001")
        if not uid:
            raise ProtocolError("handshake without a UID")
        rest = (xml.text(told, f"attr00{number}") for number in range(2, 7))
        return cls(uid, *rest)


@dataclass(frozen=True, slots=True)
class HandshakeReply(Message):
    """Answer on 61003 and 61007."""

    command: ClassVar[Command] = Command.HANDSHAKE
    heartbeat_interval_ms: int

    def encode(self) -> bytes:
        """The payload."""
        return xml.build({"Param013": {"attr007": self.heartbeat_interval_ms}})

    @classmethod
    def decode(cls, payload: bytes) -> "HandshakeReply":
        """Parse the payload."""
        interval = xml.integer(xml.parse(payload), "Param013", "attr007")
        if interval is None:
            raise ProtocolError("handshake reply without an interval")
        return cls(interval)


@dataclass(frozen=True, slots=True)
class BatteryState:
    """`charge`: 0 none, 1 charging, 2 completed, other numbers unknown. `percent` is the integer part."""

    percent: int | None
    charge: int | None


@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """Sign of life. `no_reply`: the device wants no answer."""

    command: ClassVar[Command] = Command.HEARTBEAT
    battery: BatteryState | None = None
    no_reply: bool = False

    def encode(self) -> bytes:
        """The payload."""
        told: dict[str, object] = {"attr004": int(self.no_reply)}
        if self.battery is not None:
            told["attr005"] = {"attr002": self.battery.charge, "attr006": self.battery.percent}
        return xml.build({"Param001": told})

    @classmethod
    def decode(cls, payload: bytes) -> "Heartbeat":
        """Parse the payload; an empty one is a heartbeat without battery (discrepancies C3.5)."""
        if not payload:
            return cls()
        told = xml.child(xml.parse(payload), "Param001")
        battery = None
        if xml.present(told, "attr005"):
            percent = xml.text(told, "attr005", "attr006") or ""
            whole = percent.split(".")[0].strip()
            battery = BatteryState(
                int(whole) if whole.isascii() and whole.isdigit() and len(whole) < 10 else None,
                xml.integer(told, "attr005", "attr002"),
            )
        return cls(battery, xml.text(told, "attr004") == "1")


@dataclass(frozen=True, slots=True)
class HeartbeatReply(Message):
    """Server time: whole seconds since 1970 and microseconds (whole milliseconds) within the second."""

    command: ClassVar[Command] = Command.HEARTBEAT
    seconds: int
    microseconds: int

    @classmethod
    def at(cls, wall: float) -> "HeartbeatReply":
        """The reply at a time in epoch seconds."""
        milliseconds = round(wall * 1000)
        return cls(milliseconds // 1000, milliseconds % 1000 * 1000)

    def encode(self) -> bytes:
        """The payload."""
        return xml.build({"Param001": {"attr002": self.seconds, "attr003": self.microseconds}})

    @classmethod
    def decode(cls, payload: bytes) -> "HeartbeatReply":
        """Parse the payload."""
        told = xml.parse(payload)
        seconds = xml.integer(told, "Param001", "attr002")
        if seconds is None:
            raise ProtocolError("heartbeat reply without a time")
        return cls(seconds, xml.integer(told, "Param001", "attr003") or 0)


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """One event. `status`: none, MD, videoLoss, blind, IOAlarm; `ai_type`: words joined by commas."""

    channel: str | None
    status: str | None
    ai_type: str | None

    def webhook(self, uid: str) -> dict[str, str]:
        """Members of the webhook's body, absent ones left out. Source: client-api, alarm webhook."""
        told = {"uid": uid, "channelId": self.channel, "status": self.status, "AItype": self.ai_type}
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True, slots=True)
class AlarmMessage(Message):
    """Alarm of a device: cameras send one event each, several are kept (discrepancies C3.12)."""

    command: ClassVar[Command] = Command.ALARM
    events: tuple[AlarmEvent, ...]

    def encode(self) -> bytes:
        """The payload."""
        events = [
            {"attr001": each.channel, "attr002": each.status, "attr003": each.ai_type} for each in self.events
        ]
        return xml.build({"Param014": {"attr001": events}})

    @classmethod
    def decode(cls, payload: bytes) -> "AlarmMessage":
        """Parse the payload."""
        found = xml.items(xml.parse(payload), "Param014", "attr001")
        return cls(tuple(AlarmEvent(*(xml.text(e, f"attr00{n}") for n in (1, 2, 3))) for e in found))


@dataclass(frozen=True, slots=True)
class NetworkReport(Message):
    """The network in use: `wire`, `wifi`, `4G`."""

    command: ClassVar[Command] = Command.NETWORK_REPORT
    network: str

    def encode(self) -> bytes:
        """The payload."""
        return xml.build({"Param020": {"attr001": self.network}})

    @classmethod
    def decode(cls, payload: bytes) -> "NetworkReport":
        """Parse the payload."""
        network = xml.text(xml.parse(payload), "Param020", "attr001")
        if network is None:
            raise ProtocolError("network report without a network")
        return cls(network)


@dataclass(frozen=True, slots=True)
class Channel:
    """Capability of one channel."""

    number: int
    streams: int
    ptz_type: int = 0
    ptz_control: int = 0
    wifi_mode: int = 0

    def offers(self, stream_type: str) -> bool:
        """Whether the stream type is in the bit mask."""
        return bool(self.streams & STREAM_BITS.get(stream_type, 0))

    @property
    def stream_types(self) -> tuple[str, ...]:
        """Words of the bit mask."""
        return tuple(word for word, bit in STREAM_BITS.items() if self.streams & bit)

    @property
    def rotates(self) -> bool:
        """Whether the channel pans and tilts."""
        return self.ptz_type in (2, 3, 4, 5)

    @property
    def zooms(self) -> bool:
        """Whether it zooms."""
        return self.ptz_type in (2, 4, 5)

    @property
    def focuses(self) -> bool:
        """Whether it focuses."""
        return self.ptz_type in (1, 2, 4, 5)

    @property
    def diagonals(self) -> bool:
        """Eight directions; False: only four."""
        return not self.ptz_control & 2


@dataclass(frozen=True, slots=True)
class SupportGet(Message):
    """Ask for the capability."""

    command: ClassVar[Command] = Command.SUPPORT

    def encode(self) -> bytes:
        """The payload: none."""
        return b""


@dataclass(frozen=True, slots=True)
class Support(Message):
    """Capability of a device: every channel (discrepancies C3.8)."""

    command: ClassVar[Command] = Command.SUPPORT
    channels: tuple[Channel, ...] = field(default=())

    def channel(self, number: int) -> Channel | None:
        """A channel by number."""
        return next((each for each in self.channels if each.number == number), None)

    def encode(self) -> bytes:
        """The payload."""
        entries = [
            {
                "attr001": each.number,
                "attr002": {"attr001": each.streams},
                "attr003": {"attr001": each.ptz_type, "attr002": each.ptz_control},
                "attr004": {"attr001": each.wifi_mode},
            }
            for each in self.channels
        ]
        return xml.build({"Param005": {"attr001": entries}})

    @classmethod
    def decode(cls, payload: bytes) -> "Support":
        """Parse the payload; a channel without number or stream mask breaks the protocol."""
        channels = []
        for entry in xml.items(xml.parse(payload), "Param005", "attr001"):
            number, streams = xml.integer(entry, "attr001"), xml.integer(entry, "attr002", "attr001")
            if number is None or streams is None:
                raise ProtocolError("capability without channel number or stream types")
            channels.append(
                Channel(
                    number,
                    streams,
                    xml.integer(entry, "attr003", "attr001") or 0,
                    xml.integer(entry, "attr003", "attr002") or 0,
                    xml.integer(entry, "attr004", "attr001") or 0,
                )
            )
        return cls(tuple(channels))
