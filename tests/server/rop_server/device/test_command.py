"""The command `rop-server` as a user runs it: readiness, stop, exit codes, identity over restarts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import aiohttp

from rop_server.logpipe import LogPipe
from rop_wire import messages
from rop_wire.commands import Command

UID = "95270000000TEST1"


def keys_of(path: Path) -> dict[str, str]:
    names = ["config.json", "certs/ECC/Root/ca.pem", "certs/ECC/Root/key.pem", "certs/ECC/E1/ca.pem"]
    return {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in names}


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


async def session(directory: Any, uid: str) -> dict[str, Any]:
    url = f"http://127.0.0.1:{directory.numbers['clientHttp']}/v1.0/devices/initialization-session"
    async with aiohttp.ClientSession() as http, http.post(url, json={"uid": uid}) as response:
        assert response.status == 200
        document: dict[str, Any] = await response.json()
        return document


async def test_from_nothing_to_a_camera_and_back(directory: Any, wire: Any, tmp_path: Path, until: Any) -> None:
    directory.configure()
    process = directory.spawn()
    told = directory.ready(process)
    assert told["ports"]["signalingTLS"] == directory.numbers["signalingTLS"]
    before = keys_of(directory.path)
    document = await session(directory, UID)
    root = (directory.path / "certs/ECC/Root/ca.pem").read_text()
    camera = wire.Camera(UID, directory.numbers, tmp_path, root)
    await camera.enrol(document["code"])
    line = await camera.signaling()
    line.answers[Command.GET_GENERAL] = None
    url = f"http://127.0.0.1:{directory.numbers['clientHttp']}/v1.0/devices/{UID}/settings/general-config"
    async with aiohttp.ClientSession() as http:
        call = asyncio.create_task(http.get(url))
        await until(lambda: any(packet.command == Command.GET_GENERAL for packet in line.seen))
        process.send_signal(signal.SIGTERM)
        # The call is in flight: it is answered before the end.
        asked = next(p for p in line.seen if p.command == Command.GET_GENERAL)
        await until(lambda: not listens(directory.numbers["signalingTLS"]))
        line.send(asked.reply(payload=messages.GeneralConfig("Door").encode()))
        response = await call
        assert response.status == 200 and "Door" in await response.text()
    loop = asyncio.get_running_loop()
    out, err = await loop.run_in_executor(None, process.communicate)
    assert process.returncode == 0, err
    assert err == ""
    assert document["code"] not in out
    assert [json.loads(text)["action"] for text in out.splitlines()][-1] == "stopped"
    await camera.close()

    again = directory.spawn()
    directory.ready(again)
    assert keys_of(directory.path) == before
    await camera.signaling()  # the same identity is good after a restart
    again.kill()
    await loop.run_in_executor(None, again.communicate)
    third = directory.spawn()
    directory.ready(third)
    assert keys_of(directory.path) == before
    await camera.close()
    assert (await loop.run_in_executor(None, directory.stop, third))[0] == 0


def test_port_in_use_names_port_member_and_process(directory: Any) -> None:
    directory.configure()
    with socket.socket() as blocker:
        blocker.bind(("127.0.0.1", directory.numbers["signalingTLS"]))
        blocker.listen()
        done = directory.spawn()
        _, err = done.communicate(timeout=20)
    assert done.returncode == 75
    assert f"port {directory.numbers['signalingTLS']} (ports.signalingTLS) is in use by process" in err
    with socket.socket() as blocker:
        blocker.bind(("127.0.0.1", directory.numbers["clientHttp"]))
        blocker.listen()
        done = directory.spawn()
        _, err = done.communicate(timeout=20)
    assert done.returncode == 75 and "(ports.clientHttp) is in use" in err
    assert "Traceback" not in err


def test_two_servers_on_one_directory(directory: Any) -> None:
    directory.configure()
    first = directory.spawn()
    directory.ready(first)
    second = directory.spawn()
    _, err = second.communicate(timeout=20)
    assert second.returncode == 75 and f"process {first.pid}" in err
    assert directory.stop(first)[0] == 0


def test_configuration_errors(directory: Any) -> None:
    path = str(directory.path)
    del directory.environment["ROP_HOSTNAME"]
    done = directory.command("--data", path)
    assert done.returncode == 78 and "ROP_HOSTNAME" in done.stderr
    directory.environment["ROP_HOSTNAME"] = "127.0.0.1"
    directory.configure()
    config = directory.path / "config.json"
    good = json.loads(config.read_text())
    config.write_text(json.dumps({**good, "heartBeatInterval": "often"}))
    done = directory.command("--data", path)
    assert done.returncode == 78 and "heartBeatInterval" in done.stderr and "often" in done.stderr
    config.write_text(json.dumps({**good, "authCode": {"signKey": 5, "expiredIn": 60}}))
    done = directory.command("--data", path)
    assert done.returncode == 78 and "authCode.signKey" in done.stderr and "hidden" in done.stderr


def test_usage_errors_and_tokens(directory: Any) -> None:
    path = str(directory.path)
    assert directory.command().returncode == 64
    assert directory.command("--data", path, "--nonsense").returncode == 64
    assert directory.command("configure", "--data", path, "--patch", "-", text="[").returncode == 64
    assert directory.command("--help").returncode == 0
    assert directory.command("token", "list", "--data", path).returncode == 78
    directory.configure()
    made = directory.command("token", "create", "--data", path, "--scope", "Observe", "--name", "a")
    assert made.returncode == 0 and made.stdout.startswith("rop_")
    assert directory.command("token", "list", "--data", path).stdout == "a\tObserve\n"
    assert directory.command("token", "revoke", "--data", path, "--name", "a").returncode == 0
    assert directory.command("token", "revoke", "--data", path, "--name", "a").returncode == 64
    wrong = directory.command("configure", "--data", path, "--patch", "-", text='{"timeout.socket": -1}')
    assert wrong.returncode == 78 and "timeout.socket" in wrong.stderr


def test_a_stalled_log_reader_does_not_stall_the_server(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb") as reader:
        pipe = LogPipe(stream, lines=2000)
        for number in range(5000):  # far more than a pipe and the queue hold
            pipe.write(f"{number} {'x' * 100}\n")
        first = reader.readline()
        assert first.startswith(b"0 ")
        seen = 1
        while b"logs-dropped" not in (line := reader.readline()):
            seen += 1
        assert 2000 <= seen < 5000 and json.loads(line)["lines"] > 0
        pipe.write("last\n")
        pipe.finish(5.0)
        assert reader.readline() == b"last\n"
