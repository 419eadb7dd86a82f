"""Errors of the codecs."""


class WireError(Exception):
    """Base of every error of this package."""


class ProtocolError(WireError):
    """Received bytes break the protocol. The only error a parser raises on input, whatever the bytes are."""


class EncodeError(WireError, ValueError):
    """A message cannot be expressed on the wire (a field is out of its range)."""
