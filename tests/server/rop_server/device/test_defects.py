"""Weaknesses known from the vendor's server that no other test names: each stays away here."""

from __future__ import annotations

import ast
import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from rop_pki import create_root
from rop_wire import messages, provisioning
from rop_wire.commands import Command
from rop_wire.encrypted import uid_hash
from rop_wire.packet import Packet

SERVER = Path(__file__).parents[4] / "server"
UID = "95270000000TEST1"
# Spreads retries; protects nothing.
MAY_USE_RANDOM = {"rop_server/alarms/bounds.py"}


async def test_certificates_for_one_uid_at_the_same_time(server: Any, camera: Any) -> None:
    """C1.3, C5.7: signed in the process, without files that requests could share."""
    replies = await asyncio.gather(*(camera.certify(camera.certificate.code) for _ in range(10)))
    assert all(isinstance(each, provisioning.CertificateReply) for each in replies)
    assert len({each.cert for each in replies}) == len({each.key for each in replies}) == 10
    issued = [each for each in server.book.certificates() if each["uid"] == UID]
    assert len({each["serial"] for each in issued}) == 11
    assert all(len(each["serial"]) <= 40 for each in issued)


def _imports_random(path: Path) -> bool:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import) and any(alias.name == "random" for alias in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            return True
    return False


def test_secrets_come_from_the_secure_generator() -> None:
    """C2.3: nothing that makes keys, codes or addresses uses the other one."""
    rooms = ("rop_wire", "rop_pki", "rop_data", "rop_server")
    found = {
        str(path.relative_to(SERVER))
        for room in rooms
        for path in (SERVER / room).rglob("*.py")
        if _imports_random(path)
    }
    assert found <= MAY_USE_RANDOM


async def test_device_keys_change_without_a_restart(server: Any, camera: Any, directory: Any) -> None:
    """C2.16: the next registration tells the new index, connections with TLS stay."""
    line = await camera.signaling()
    keys = dict(server.control.effective.device_keys)
    index = "n" * 16
    result = await server.control.apply(
        {"deviceAuth.deviceKeys": keys | {index: "k" * 32}, "deviceAuth.currentKeyIndex": index}
    )
    assert set(result.applied) == {"deviceAuth.deviceKeys", "deviceAuth.currentKeyIndex"}
    assert (await camera.register()).access_key == index + uid_hash(UID)
    assert (await line.ask(Command.HEARTBEAT)).status == 200
    assert (directory.path / "config.json").stat().st_mode & 0o777 == 0o600
    await line.close()


@pytest.mark.parametrize("status", [200, 400])
async def test_a_late_answer_costs_nothing(server: Any, camera: Any, status: int) -> None:
    """C3.3, C3.4: an answer nobody waits for, or to another command, is ignored."""
    line = await camera.signaling()
    line.answers[Command.GET_PIR] = None
    await server.control.apply({"timeout.signalingExec": 300})
    with pytest.raises(Exception, match="cmd_timeout"):
        await server.devices.call(UID, messages.PirGet())
    asked = next(packet for packet in line.seen if packet.command == Command.GET_PIR)
    line.send(asked.reply(status=status, payload=messages.PirConfig(True, 1, False).encode()))
    line.answers[Command.GET_PIR] = messages.PirConfig(True, 77, False).encode()
    payload = await server.devices.call(UID, messages.PirGet())
    assert messages.PirConfig.decode(payload).sensitivity_percent == 77
    await line.close()


async def test_a_heartbeat_without_battery_state_keeps_the_last_one(server: Any, camera: Any) -> None:
    """C3.14."""
    line = await camera.keep_alive()
    await line.ask(Command.HEARTBEAT, messages.Heartbeat(messages.BatteryState(55, 1)).encode())
    known = server.devices.link(UID).battery
    await line.ask(Command.HEARTBEAT)
    assert known.percent == 55 and server.devices.link(UID).battery == known
    await line.close()


async def test_logs_name_no_secret(server: Any, camera: Any, log_lines: Any) -> None:
    """C2.11: neither codes, nor keys, nor what came with them."""
    config = server.control.effective
    code = server.devices.issue_code(UID).code
    await camera.certify(code)
    await camera.certify("wrong-code")
    line = await camera.signaling()
    await line.close()
    secrets = [code, camera.certificate.code, config.sign_key, *config.device_keys.values()]
    text = log_lines()
    assert text and all(json.dumps(secret)[1:-1] not in text for secret in secrets)


def test_signatures_are_compared_in_constant_time() -> None:
    """C2.15: whatever is named a signature, MAC or token is never compared with `==`."""
    watched = {"signature", "mac", "digest", "token", "tag"}
    found = []
    for room in ("rop_wire", "rop_server"):
        for path in (SERVER / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Compare) and any(
                    isinstance(each, ast.Eq | ast.NotEq) for each in node.ops
                ):
                    sides = [node.left, *node.comparators]
                    constant = any(isinstance(each, ast.Constant) for each in sides)
                    names = {each.id for each in sides if isinstance(each, ast.Name)}
                    if names & watched and not constant:
                        found.append(f"{path.name}:{node.lineno}")
    assert found == []


async def test_a_network_report_ends_with_its_connection(server: Any, camera: Any, until: Any) -> None:
    """C3.13."""
    keep = await camera.keep_alive()
    line = await camera.signaling(family="battery")
    line.send(wire_packet(Command.NETWORK_REPORT, messages.NetworkReport("wire").encode()))
    await line.ask(Command.HEARTBEAT)
    assert server.devices.link(UID).wired
    await line.close()
    await until(lambda: not server.devices.link(UID).signaling)
    assert not server.devices.link(UID).wired
    await keep.close()


def wire_packet(command: int, payload: bytes) -> Packet:
    return Packet(0, command, 5, 200, payload)


def test_dates_beyond_2049_have_four_digits() -> None:
    """C5.13: RFC 5280 wants GeneralizedTime (tag 24) from 2050 on, UTCTime (tag 23) before."""
    _, pem = create_root(datetime(2026, 1, 1, tzinfo=UTC))
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    assert b"\x17\x0d26" in der or b"\x17\x0d25" in der
    assert b"\x18\x0f30" in der
