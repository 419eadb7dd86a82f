"""Errors of the client interface as exceptions that know their answer."""

from __future__ import annotations

from rop_wire.symbols import SYMBOLS


class ClientError(Exception):
    """A refusal with one of the symbols of the client API; `detail` is for the log only."""

    def __init__(self, symbol: str, detail: str = "") -> None:
        super().__init__(f"{symbol}: {detail}" if detail else symbol)
        self.symbol = symbol if symbol in SYMBOLS else "server_internal_error"
        self.detail = detail

    @property
    def status(self) -> int:
        """The HTTP status. Source: client-api 1.1."""
        return SYMBOLS[self.symbol].status


def invalid(field: str) -> ClientError:
    """The refusal of a parameter."""
    return ClientError("invalid_parameter", field)
