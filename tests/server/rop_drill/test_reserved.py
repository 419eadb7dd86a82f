"""The drill's UIDs come in during a drill, and nowhere else."""

import sys
from pathlib import Path
from typing import Any

from rop_data.archive.restore import restore
from rop_data.drill import CAMERA, CONTROL, NEWCOMER, WITNESS
from rop_data.layout import DataDir
from rop_drill import refusals
from rop_drill.perform import perform
from rop_drill.reasons import Reason
from rop_drill.server import RestoredServer
from rop_drill.strip import free_ports, strip

# The server as it runs in production: what the drill adds to its command line is taken away.
ORDINARY = (
    sys.executable,
    "-c",
    "import sys; sys.argv[sys.argv.index('--drill')] = '--bind=127.0.0.1';"
    " from rop_server.__main__ import main; main()",
)


async def doors(site: Any, tmp_path: Path, program: tuple[str, ...], uid: str) -> dict[str, bool]:
    """By port: whether a server that was started so lets this UID in."""
    inputs = site.inputs()
    directory = DataDir(tmp_path / "data")
    restore(site.archive, directory.root, inputs.identify(), inputs.expected, without_root_key=True)
    ports = free_ports()
    config = strip(directory, ports, "http://127.0.0.1:9/", uid)
    server = RestoredServer(directory, ports["clientHttp"], program)
    try:
        await server.start(60)
        identity = refusals.forge(directory, config, uid)
        return await refusals.doors(server, identity, uid, ports, tmp_path / "forged")
    finally:
        await server.stop()


async def test_an_ordinary_server_refuses_the_drill_camera_at_every_port(site: Any, tmp_path: Path) -> None:
    found = await doors(site, tmp_path, ORDINARY, CAMERA)
    assert found == dict.fromkeys(found, False)
    assert set(found) == {
        *("clientHttp", "getCertHttps", "registerHttps"),
        *("signalingTLS", "streamTLS", "keepAliveTCP", "streamTCP"),
    }


async def test_an_ordinary_server_lets_an_ordinary_camera_in(site: Any, tmp_path: Path) -> None:
    found = await doors(site, tmp_path, ORDINARY, "95270001ORDINARY")
    assert found == dict.fromkeys(found, True)


def test_a_drill_against_an_ordinary_server_is_red(site: Any) -> None:
    outcome = perform(site.inputs(program=ORDINARY), 120)
    assert outcome.reason is Reason.RENEWAL_REFUSED


def test_the_reserved_uids_are_uids_of_the_wire() -> None:
    assert {len(uid) for uid in (CAMERA, NEWCOMER, WITNESS, CONTROL)} == {16}
    assert all(uid.isalnum() and uid.isupper() for uid in (CAMERA, NEWCOMER, WITNESS, CONTROL))
