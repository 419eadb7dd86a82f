"""Limits on peers that have not proved anything yet: in all and by address. Pure."""

from __future__ import annotations

TOTAL = 4096
BY_ADDRESS = 1024


class Gate:
    """Counts unproved connections. Cameras behind one gateway share an address, hence the wide limit."""

    __slots__ = ("_by_address", "_limit", "_open", "_total")

    def __init__(self, total: int = TOTAL, by_address: int = BY_ADDRESS) -> None:
        self._total = total
        self._limit = by_address
        self._open = 0
        self._by_address: dict[str, int] = {}

    @property
    def open(self) -> int:
        """Unproved connections right now."""
        return self._open

    @property
    def full(self) -> bool:
        """True when nobody else may come in for now."""
        return self._open >= self._total

    def enter(self, address: str) -> Ticket | None:
        """A ticket for a new connection, None when a limit is reached."""
        count = self._by_address.get(address, 0)
        if self.full or count >= self._limit:
            return None
        self._open += 1
        self._by_address[address] = count + 1
        return Ticket(self, address)

    def _leave(self, address: str) -> None:
        self._open -= 1
        count = self._by_address[address] - 1
        if count:
            self._by_address[address] = count
        else:
            del self._by_address[address]


class Ticket:
    """One unproved connection; released once it proved itself or is gone."""

    __slots__ = ("_address", "_gate")

    def __init__(self, gate: Gate, address: str) -> None:
        self._gate: Gate | None = gate
        self._address = address

    def release(self) -> None:
        """Give the place back; further calls do nothing."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate._leave(self._address)
