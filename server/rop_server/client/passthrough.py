"""Raw commands for a device: off unless the operator lists the commands that may be sent.

Source: ROP v1.0 wire specification, client-api 2.16, device-protocol 10.12; discrepancies B27, C3.11.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from rop_server.client import validation
from rop_server.client.calls import ask
from rop_server.client.errors import ClientError, invalid
from rop_server.client.exchange import OK, Answer, Asked, Calls, Unserved, encode
from rop_server.core.facade import Devices
from rop_wire import messages, xml
from rop_wire.errors import EncodeError

MAX_COMMAND = 2**32 - 1


class SignalCalls:
    """The two raw calls. `allowed` tells the command numbers; none of them: the calls do not exist."""

    def __init__(self, devices: Devices, allowed: Callable[[], Collection[int]]) -> None:
        self._devices = devices
        self._allowed = allowed

    def calls(self) -> Calls:
        """Every call by its operation."""
        return {"get_signal": self.get, "post_signal": self.post}

    async def get(self, asked: Asked) -> Answer:
        """Send a command without payload, answer the device's document as JSON."""
        self._need_switched_on()
        uid = validation.uid(asked.path["uid"])
        payload = await ask(self._devices, uid, messages.RawRequest(self._command(asked)))
        name, tree = xml.parse_document(payload)
        return Answer(encode({name: tree}))

    async def post(self, asked: Asked) -> Answer:
        """Send a command with a document made from JSON."""
        self._need_switched_on()
        uid = validation.uid(asked.path["uid"])
        tree = validation.json_object(await asked.body()).get("body")
        if not isinstance(tree, dict):
            raise invalid("body")
        try:
            payload = xml.build(tree)
        except EncodeError:
            raise invalid("body") from None
        await self._devices.call(uid, messages.RawRequest(self._command(asked), payload))
        return Answer(OK)

    def _need_switched_on(self) -> None:
        if not self._allowed():
            raise Unserved

    def _command(self, asked: Asked) -> int:
        command = asked.query().whole("cmd", 0, MAX_COMMAND)
        if command not in self._allowed():
            raise ClientError("auth_failed", f"command {command} is not on the list")
        return command
