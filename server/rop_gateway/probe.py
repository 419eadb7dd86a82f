"""What the listening ports serve, seen by a handshake."""

from __future__ import annotations

import asyncio
import ssl

from cryptography import x509

from rop_gateway.config import Gateway

TIMEOUT = 3.0
PAUSE = 0.05
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


async def served_serial(address: str, port: int, host: str) -> str | None:
    """Serial (upper-case hex) of the certificate on a port. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # which certificate is the question here, not whether it is good
    opening = asyncio.open_connection(address, port, ssl=context, server_hostname=host)
    _, writer = await asyncio.wait_for(opening, TIMEOUT)
    try:
        raw = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return f"{x509.load_der_x509_certificate(raw).serial_number:X}" if raw else None
    finally:
        writer.close()


async def _listens(address: str, port: int) -> None:
    _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), TIMEOUT)
    writer.close()


async def serves(document: Gateway, serial: str | None, patience: float) -> str | None:
    """None once both ports serve this serial (None: once they listen), else what is wrong after `patience` s."""
    address = _HERE.get(document.listen[0], document.listen[0])
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        told = await _look(document, address, serial)
        if told is None or asyncio.get_running_loop().time() >= deadline:
            return told
        await asyncio.sleep(PAUSE)


async def _look(document: Gateway, address: str, serial: str | None) -> str | None:
    for name, port in (("httpsPort", document.https_port), ("rtspsPort", document.rtsps_port)):
        try:
            if serial is None:
                await _listens(address, port)
                continue
            found = await served_serial(address, port, document.host)
        except (TimeoutError, OSError, ssl.SSLError) as error:
            return f"{name} {port} does not answer ({type(error).__name__})"
        if found != serial:
            return f"{name} {port} serves certificate {found}, not {serial}"
    return None
