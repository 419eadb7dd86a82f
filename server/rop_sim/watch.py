"""What a server must not do to a camera. Pure. Source: wire specification, device-protocol 3 to 10 and 13."""

from collections.abc import MutableMapping

from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.errors import ProtocolError
from rop_wire.packet import OK, REQUEST, RESPONSE, Packet

_OF_CAMERAS = {Command.HEARTBEAT, Command.HANDSHAKE, Command.ALARM, Command.NETWORK_REPORT}
_WITHOUT_PAYLOAD = {
    Command.GET_GENERAL,
    Command.GET_PIR,
    Command.GET_ALARM_SWITCH,
    Command.SUPPORT,
    Command.SLEEP,
    Command.WAKE_UP,
}


def response_fault(packet: Packet, asked: MutableMapping[int, int], keep_alive: bool) -> str | None:
    """What is wrong with a response, None when it is right. `asked`: number -> command of open requests; the
    answered one is taken out.
    """
    if packet.kind != RESPONSE:
        return f"packet of kind {packet.kind}"
    command = asked.pop(packet.request_id, None)
    if command is None:
        return f"response {packet.request_id} to command {packet.command}, which nobody sent"
    if command != packet.command:
        return f"response of command {packet.command} to a request of command {command}"
    if packet.status != OK:
        return f"status {packet.status} to command {command}"
    try:
        if command == Command.HEARTBEAT:
            messages.HeartbeatReply.decode(packet.payload)
        elif command == Command.HANDSHAKE and keep_alive:
            messages.HandshakeReply.decode(packet.payload)
        elif packet.payload:
            return f"payload in the response to command {command}"
    except ProtocolError as failure:
        return f"response to command {command}: {failure}"
    return None


def request_fault(packet: Packet, battery: bool, keep_alive: bool, ready: bool) -> str | None:
    """What is wrong with a request of the server, None when it is right. `ready`: our handshake is answered."""
    command = packet.command
    if packet.kind != REQUEST:
        return f"packet of kind {packet.kind}"
    if not ready:
        return f"command {command} before the handshake was answered"
    if keep_alive != (command == Command.WAKE_UP):
        return f"command {command} on the {'keep-alive' if keep_alive else 'signaling'} connection"
    if command in _OF_CAMERAS:
        return f"command {command}, which only cameras send"
    if packet.status != OK:
        return f"status {packet.status} in a request"
    if command in _WITHOUT_PAYLOAD and (packet.payload or packet.extension):
        return f"payload in a request of command {command}"
    if command == Command.SLEEP and not battery:
        return "sleep for a powered camera"
    return _setting_fault(packet)


def _setting_fault(packet: Packet) -> str | None:
    """Values that the client API refuses must not get here (discrepancies B9, B15)."""
    try:
        if packet.command == Command.SET_GENERAL:
            name = messages.GeneralConfigSet.decode(packet.payload).device_name
            if not messages.DEVICE_NAME.fullmatch(name or ""):
                return "a device name that no client may set"
        elif packet.command == Command.SET_PIR:
            percent = messages.PirSet.decode(packet.payload).sensitivity_percent
            if percent is None or not 0 <= percent <= 100:
                return "a PIR sensitivity out of range"
        elif packet.command == Command.SET_ALARM_SWITCH:
            messages.AlarmSwitchSet.decode(packet.payload)
    except ProtocolError as failure:
        return f"command {packet.command}: {failure}"
    return None
