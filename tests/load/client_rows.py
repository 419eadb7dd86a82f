"""What clients and the authority get: requests per second, certificates per second."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp
from stand import Server

from rop_pki import Authority, create_intermediate, create_root
from rop_sim.fleet import Fleet, uids
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.packet import Packet

Rows = dict[str, float]
SECONDS = 4.0


async def _rate(server: Server, name: str, clients: int, method: str, paths: list[str], body: Any = None) -> Rows:
    """Answers with 200 per second and per CPU second of the server, `clients` at a time."""
    until = time.monotonic() + SECONDS
    done = [0, 0]
    cpu, start = server.cpu(), time.monotonic()

    async def client(number: int, session: aiohttp.ClientSession) -> None:
        turn = number
        while time.monotonic() < until:
            path = paths[turn % len(paths)]
            turn += clients
            async with session.request(method, server.url + path, json=body) as answer:
                await answer.read()
                done[answer.status != 200] += 1

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(number, session) for number in range(clients)))
    lasted = time.monotonic() - start
    return {
        f"{name}.perSecond": done[0] / lasted,
        f"{name}.perCpuSecond": done[0] / max(0.01, server.cpu() - cpu),
        f"{name}.failed": done[1],
    }


class Obedient:
    """Makes the cameras of a fleet answer every command with 200 and what a bare camera has."""

    @staticmethod
    def install(fleet: Fleet) -> None:
        """For every camera."""
        payloads = {
            Command.GET_GENERAL: messages.GeneralConfig("Gate").encode(),
            Command.SUPPORT: messages.Support((messages.Channel(0, 7, 0, 0, 2),)).encode(),
        }

        def answer(packet: Packet) -> list[Packet]:
            return [packet.reply(payload=payloads.get(Command(packet.command), b""))]

        for member in fleet.members:
            member.device.answer = answer  # type: ignore[method-assign]


async def requests(server: Server, fleet: Fleet) -> Rows:
    """The calls of a client while the fleet is online."""
    Obedient.install(fleet)
    some = [member.device.traits.uid for member in fleet.members[:100]]
    general = [f"/v1.0/devices/{uid}/settings/general-config" for uid in some]
    wifi = [f"/v1.0/devices/{some[0]}/settings/wifi-config"]
    network = {"ssid": "site", "key": "0123456789", "countryCode": "DE"}
    return {
        **await _rate(server, "list", 16, "GET", ["/v1.0/devices"]),
        **await _rate(server, "general", 16, "GET", general),
        **await _rate(server, "wifi", 1, "PUT", wifi, network),
    }


def certificates(count: int = 2000) -> Rows:
    """Device certificates per CPU second."""
    now = datetime.now(UTC)
    root_key, root = create_root(now)
    key, certificate = create_intermediate(root_key, root, "rop.example.net", now)
    authority = Authority(root, certificate, key, "rop.example.net")
    before = time.process_time()
    for uid in uids("CERT", count):
        authority.device_certificate(uid, 180, now)
    return {"certificates.perCpuSecond": count / (time.process_time() - before)}
