"""The members of the configuration the core works with, in seconds, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from rop_wire.encrypted import Policy


@dataclass(frozen=True, slots=True)
class Ports:
    """Numbers told to devices and tools. Names as in config.json."""

    get_ca_https: int
    get_cert_https: int
    register_https: int
    keep_alive_tcp: int
    signaling_tls: int
    stream_tls: int = 0
    stream_tcp: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """Durations are seconds. Source: pki-and-config 6, device-protocol 12."""

    ports: Ports
    sign_key: str = field(repr=False)
    device_keys: dict[str, str] = field(repr=False)
    current_key_index: str
    old_sign_keys: tuple[str, ...] = field(default=(), repr=False)
    retired_sign_keys: tuple[str, ...] = field(default=(), repr=False)
    integrity: Policy = Policy.ENFORCE
    code_life: float = 60.0
    client_cert_days: float = 180
    socket_timeout: float = 40.0
    call_timeout: float = 10.0
    wake_answer_timeout: float = 10.0
    wake_connect_timeout: float = 10.0
    signaling_idle: float = 30.0
    heartbeat_interval_s: int = 20
