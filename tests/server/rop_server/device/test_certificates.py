"""400 days of a server: what it presents on every TLS port is valid on each of them."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from free_ports import free_ports
from rop_data.layout import DataDir
from rop_data.store import prepare
from rop_server.app import running

DAYS = 400
TLS_PORTS = ("getCAHttps", "getCertHttps", "registerHttps", "signalingTLS", "streamTLS")
UID = "95270000000TEST1"
DAY = timedelta(days=1)


async def presented(port: int, context: ssl.SSLContext) -> x509.Certificate:
    """The certificate of a real handshake."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="127.0.0.1")
    der = writer.get_extra_info("ssl_object").getpeercert(True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(der)


def verify(folder: Path, root: Path, chain: Path, when: datetime) -> None:
    """As OpenSSL's strict clients see it at this time."""
    command = ["openssl", "verify", "-x509_strict", "-attime", str(int(when.timestamp())), "-CAfile", str(root)]
    command += ["-verify_ip", "127.0.0.1", "-purpose", "sslserver", "-untrusted", str(chain), str(chain)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr


async def test_400_days_without_an_expired_certificate_on_any_port(
    directory: Any, wire: Any, tmp_path: Path
) -> None:
    (number,) = free_ports(1)
    data, begin = DataDir(directory.path), datetime.now(UTC)
    members = {**directory.members, "rop.management.listen": f"127.0.0.1:{number}"}
    with data.lock():
        prepare(data, directory.environment, begin, members)
    async with running(directory.path, "127.0.0.1") as server:
        ports = [*(directory.numbers[name] for name in TLS_PORTS), number]
        camera = wire.Camera(UID, directory.numbers, tmp_path, server.site.root_pem.decode())
        await camera.enrol(server.devices.issue_code(UID).code)
        line = await camera.signaling()
        context = camera.context
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        seen: dict[int, set[int]] = {port: set() for port in ports}
        for day in range(DAYS + 1):
            now = begin + day * DAY
            renewed = server.certificates.keep(now)
            for port in ports if renewed or day % 25 == 0 else ():
                found = await presented(port, context)
                left = found.not_valid_after_utc - now
                assert found.not_valid_before_utc <= now
                assert left > 29 * DAY, f"port {port} on day {day}"
                seen[port].add(found.serial_number)
            if renewed:
                chain = server.site.certs.server_chain("127.0.0.1")
                verify(tmp_path, server.site.certs.root_ca / "ca.pem", chain, now)
        assert {len(seen[port]) for port in ports[:-1]} == {7}, "90 days each, 30 before the end"
        assert len(seen[number]) == 1, "825 days"
        assert not line.ended.is_set(), "the first connection lived through all of it"
        await camera.close()


@pytest.mark.parametrize("later", ["+70d", "+400d"])
def test_a_process_at_another_time_presents_a_valid_certificate(directory: Any, later: str) -> None:
    """libfaketime moves the clock of the whole process."""
    directory.configure()
    chain = DataDir(directory.path).root / "certs/ECC/E1/newcerts/server-127.0.0.1.fullchain.pem"
    before = x509.load_pem_x509_certificate(chain.read_bytes())
    faketime = shutil.which("faketime")
    assert faketime is not None
    library = subprocess.run(
        [faketime, "-f", later, "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
    )
    faked = {"LD_PRELOAD": library.stdout.strip(), "FAKETIME": later, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    directory.environment.update(faked)
    process = directory.spawn()
    directory.ready(process)
    pem = ssl.get_server_certificate(("127.0.0.1", directory.numbers["signalingTLS"]))
    found = x509.load_pem_x509_certificate(pem.encode())
    then = datetime.now(UTC) + timedelta(days=int(later.strip("+d")))
    assert found.not_valid_before_utc < then < found.not_valid_after_utc - 29 * DAY
    assert found.public_bytes(Encoding.DER) != before.public_bytes(Encoding.DER)
    assert directory.stop(process)[0] == 0
