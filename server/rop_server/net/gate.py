"""Limits on peers that have not proved anything yet: in all and by address. Pure."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address

TOTAL = 4096
BY_ADDRESS = 1024


class Gate:
    """Counts unproved connections. Cameras behind one gateway share an address, hence the wide limit.

    An address may hold no more places than are free: one greedy address gets half of them, two get a third each,
    and a camera from elsewhere always finds one (Choudhury and Hahne, dynamic queue length thresholds, 1998).
    `room` hears when there are places again after there were none.
    """

    __slots__ = ("_by_address", "_limit", "_open", "_total", "room")

    def __init__(self, total: int = TOTAL, by_address: int = BY_ADDRESS) -> None:
        self._total = total
        self._limit = by_address
        self._open = 0
        self._by_address: dict[str, int] = {}
        self.room: list[Callable[[], None]] = []

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
        network = network_of(address)
        count = self._by_address.get(network, 0)
        if count >= min(self._limit, self._total - self._open):
            return None
        self._open += 1
        self._by_address[network] = count + 1
        return Ticket(self, network)

    def _leave(self, network: str) -> None:
        was_full = self.full
        self._open -= 1
        count = self._by_address[network] - 1
        if count:
            self._by_address[network] = count
        else:
            del self._by_address[network]
        if was_full:
            for hear in self.room:
                hear()


class Ticket:
    """One unproved connection; released once it proved itself or is gone."""

    __slots__ = ("_gate", "_network")

    def __init__(self, gate: Gate, network: str) -> None:
        self._gate: Gate | None = gate
        self._network = network

    def release(self) -> None:
        """Give the place back; further calls do nothing."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate._leave(self._network)


def network_of(address: str) -> str:
    """What counts as one address: for IPv6 the /64, of which a single host can use every address."""
    if ":" not in address:
        return address
    return IPv6Address(address.partition("%")[0]).packed[:8].hex()
