"""Refusals of the management interface."""

from __future__ import annotations

from typing import Any

from rop_server.core.facade import CallError
from rop_wire.symbols import SYMBOLS

CONFLICTS = {"device_asleep": "The device is asleep and waking it was not allowed."}


class ManageError(Exception):
    """A refusal: HTTP status, symbol, message, and where it helps the field and the rule it broke."""

    def __init__(
        self, status: int, symbol: str, message: str, field: str | None = None, rule: str | None = None
    ) -> None:
        super().__init__(f"{symbol}: {message}")
        self.status = status
        self.symbol = symbol
        self.message = message
        self.field = field
        self.rule = rule

    def document(self) -> dict[str, Any]:
        """The error body."""
        error = {"symbol": self.symbol, "message": self.message, "field": self.field, "rule": self.rule}
        return {"error": {name: value for name, value in error.items() if value is not None}}


def invalid(field: str, message: str) -> ManageError:
    """422: a parameter or a member of the body breaks its rule."""
    return ManageError(422, "invalid_parameter", f"{field}: {message}", field)


def device_refusal(error: CallError) -> ManageError:
    """A failed device call as an answer of its own."""
    if error.symbol in CONFLICTS:
        return ManageError(409, error.symbol, CONFLICTS[error.symbol])
    known = SYMBOLS.get(error.symbol)
    if known is None:
        return ManageError(500, "server_internal_error", SYMBOLS["server_internal_error"].message)
    return ManageError(known.status, error.symbol, error.detail or known.message)
