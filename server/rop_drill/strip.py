"""Taking everything out of a restored site that could reach beyond the drill, before its first start."""

import random
import shutil
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress

from rop_data import config, settings, sinks
from rop_data.config import Config
from rop_data.layout import DataDir
from rop_data.members import MEMBERS
from rop_data.settings import RopSettings
from rop_data.sinks import AlarmSettings, SinkSettings

LOOPBACK = "127.0.0.1"
SINK, SINK_FILE = "drill", "secrets/sink-drill.url"
PORTS = tuple(member.name.removeprefix("ports.") for member in MEMBERS if member.name.startswith("ports."))
# Below those that the kernel gives to outgoing connections.
_FIRST, _LAST = 20_000, 32_000


def strip(directory: DataDir, ports: Mapping[str, int], sink_url: str, sink_uid: str) -> Config:
    """Rewrite config.json and rop.json of a restored directory; the configuration that is left.

    Of rop.json only who the site is stays: whatever else it names (receivers of alarms, listeners, targets,
    schedules, a gateway) is not taken over, nor are credentials and included folders. Alarms of one UID go to the
    drill's own receiver.
    """
    _remove_others(directory)
    raw = config.load(directory.config).raw
    members: dict[str, object] = {f"ports.{name}": number for name, number in ports.items()}
    members |= {
        "alarm.enabled": False,
        "alarm.notificationURL": "",
        "upgrade.filePath": "/data/firmware",
        "rtsp.playURLPrefix": f"rtsp://{LOOPBACK}:{ports['clientRtsp']}",
        "logs.drivers": {"console": {"type": "console"}},
    }
    kept = Config(config.patch(raw, members))
    known = settings.load(directory.rop)
    assert known is not None  # an archive without it is refused
    sink = SinkSettings(SINK, SINK_FILE, uids=(sink_uid,))
    fresh = RopSettings(
        known.instance_id,
        LOOPBACK,
        known.integrity,
        known.adopted,
        root_sha256=known.root_sha256,
        alarms=AlarmSettings(sinks=(sink,)),
    )
    sinks.write_secret(directory.root, SINK_FILE, sink_url)
    settings.save(directory.rop, fresh)
    config.save(directory.config, kept)
    return kept


def _remove_others(directory: DataDir) -> None:
    """Leave what the server itself needs: configuration, certificates, databases."""
    certs = directory.resolve(str(config.load(directory.config).get("cert.workDir")).rstrip("/"))
    kept = {directory.config, directory.rop, directory.state, directory.alarms}
    for path in directory.root.iterdir():
        if path not in kept and not certs.is_relative_to(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def free_ports() -> dict[str, int]:
    """A port of loopback for each of the server's, free at this moment."""
    found: dict[str, int] = {}
    with ExitStack() as held:
        while len(found) < len(PORTS):
            sock = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            with suppress(OSError):
                sock.bind((LOOPBACK, random.randrange(_FIRST, _LAST)))  # noqa: S311 - not a secret
                found[PORTS[len(found)]] = sock.getsockname()[1]
    return found
