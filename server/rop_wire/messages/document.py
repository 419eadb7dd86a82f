"""What every message has: a command number, a payload, seldom an extension."""

from typing import ClassVar

from rop_wire import xml
from rop_wire.commands import Command

EMPTY_DOCUMENT = xml.build({})
"""A non-empty document without content: the answer to a wake-up or a snapshot request."""


class Message:
    """A request or response of one command."""

    __slots__ = ()
    command: ClassVar[Command]

    def encode(self) -> bytes:
        """The payload: none, unless the message has fields. Raises EncodeError for a field out of its range."""
        return b""

    def extension(self) -> bytes:
        """The extension before the payload: none, except for firmware slices."""
        return b""
