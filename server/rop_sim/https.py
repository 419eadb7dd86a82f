"""A small HTTPS client for 61000 to 61002: cameras expect odd headers and abrupt ends."""

import asyncio
import ssl

from rop_sim.identity import check_host

MAX_ANSWER = 262_144


async def request(
    address: tuple[str, int],
    context: ssl.SSLContext,
    head: str,
    body: bytes = b"",
    seconds: float = 20.0,
    at: str | None = None,
) -> tuple[int, bytes]:
    """Send `METHOD path` with a body; (status, body). `at`: where to connect instead of the host's own address.

    Raises OSError, asyncio.TimeoutError, ValueError.
    """
    host, port = address
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(
            at or host, port, ssl=context, server_hostname=host, limit=MAX_ANSWER
        )
        try:
            if context.verify_mode == ssl.CERT_REQUIRED:
                check_host(host, writer.get_extra_info("peercert"))
            lines = [f"{head} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", "", ""]
            writer.write("\r\n".join(lines).encode() + body)
            return await _answer(reader)
        finally:
            writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    status = int(first.split(" ")[1])
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return status, await _chunks(reader)
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= MAX_ANSWER:
        raise ValueError(f"answer of {length} bytes")
    return status, await reader.readexactly(length)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        if len(body) + size > MAX_ANSWER:
            raise ValueError("answer too long")
        body += (await reader.readexactly(size + 2))[:-2]
    return body
