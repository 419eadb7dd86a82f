"""Any command with any payload. Source: ROP v1.0 wire specification, device-protocol 10.12; client-api 2.16."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A command number 0..2^32-1 with a payload made elsewhere (`xml.build`)."""

    command: int
    payload: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """The payload."""
        return self.payload

    def extension(self) -> bytes:
        """The extension: none."""
        return b""
