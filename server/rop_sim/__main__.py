"""The command line of virtual cameras."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import uvloop

from rop_sim import control, files
from rop_sim.camera import Camera
from rop_sim.device import Traits
from rop_sim.extras import Extras
from rop_sim.faults import KINDS, FaultError, Faults, reference
from rop_sim.fleet import Fleet, uids
from rop_sim.setup import Discovery, address_towards, discovery_socket, serve_setup
from rop_wire.auth import valid_uid
from rop_wire.lan import DISCOVERY_PORT, DiscoveryReply

EXIT_VIOLATION = 3
EXIT_PORT = 75


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Virtual cameras that speak the real wire protocol.

    \b
    Example:  ropsim camera --state /tmp/cam --uid 95270001ABCDEFGH
    Exit codes: 0 stopped, 1 failed, 2 usage, 3 the server broke the protocol (--strict), 75 address in use.
    """


def _uid(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not valid_uid(value):
        raise click.BadParameter("a UID has 16 characters A-Z and 0-9")
    return value


def _faults(_context: click.Context, _parameter: click.Parameter, words: tuple[str, ...]) -> tuple[str, ...]:
    try:
        Faults(words)
    except FaultError as failure:
        raise click.BadParameter(str(failure)) from None
    return words


@main.command("faults")
@click.option("--markdown", is_flag=True, help="As docs/reference/ropsim-faults.md has it.")
def list_faults(markdown: bool) -> None:
    """List the faults that `ropsim camera --fault` knows.

    \b
    Example:  ropsim faults
    """
    if markdown:
        click.echo(reference(), nl=False)
        return
    for name, kind in KINDS.items():
        number = "" if kind.default is None else f" [={kind.default:g}]"
        click.echo(f"{name + number:28}{kind.what}")


@main.command()
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder it lives in."
)
@click.option("--uid", callback=_uid, required=True, help="16 characters A-Z, 0-9.")
@click.option("--model", default="ROP Virtual", show_default=True)
@click.option("--firmware", default=None, help="Firmware text of the handshake, before any upgrade.")
@click.option("--name", default=None, help="Device name before anybody sets one.")
@click.option("--battery", is_flag=True, help="Sleeps; holds only the keep-alive connection.")
@click.option("--ptz", is_flag=True, help="Pans, tilts, zooms.")
@click.option(
    "--wifi",
    is_flag=True,
    help="Has WiFi, as battery cameras do; ROP-Home opens with virtual-home-key, ROP-Guest is open.",
)
@click.option("--no-wire", is_flag=True, help="Has WiFi only: a network it cannot join is its last one.")
@click.option("--h265", is_flag=True, help="H.265 instead of H.264.")
@click.option("--setup-address", default="127.0.0.1", show_default=True)
@click.option("--setup-port", type=click.IntRange(0, 65535), default=0, help="0: any free port.")
@click.option("--discovery-address", default="", help="Broadcast address of the network; empty: all.")
@click.option("--discovery-port", type=click.IntRange(1, 65535), default=DISCOVERY_PORT, show_default=True)
@click.option("--no-discovery", is_flag=True)
@click.option("--reconnect-min", type=float, default=1.0, show_default=True, help="First pause in seconds.")
@click.option(
    "--media",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="Film to show, anything that ffmpeg reads; else ffmpeg's test picture. The main stream is the file as it"
    " is, bit by bit, when a camera could have made it: H.264 (H.265 with --h265), no B pictures, a whole number"
    " of pictures per second, parameter sets before every key picture. Else it is encoded; `stream` in device.log"
    " says why.",
)
@click.option("--recordings", type=click.IntRange(0, 10_000), default=200, show_default=True, help="On its card.")
@click.option("--reboot-seconds", type=click.FloatRange(0, 3600), default=2.0, show_default=True)
@click.option(
    "--drain-per-hour", type=click.FloatRange(0, 1e6), default=0.0, help="Percent of the battery used in an hour."
)
@click.option("--connect-to", metavar="ADDR", help="Reach the server here, whatever its host resolves to.")
@click.option(
    "--fault", "faults", multiple=True, callback=_faults, help="NAME or NAME=NUMBER; see `ropsim faults`."
)
@click.option("--strict", is_flag=True, help="Stop with 3 when the server breaks the protocol.")
def camera(state: Path, uid: str, strict: bool, **options: Any) -> None:
    """Run one camera until stopped.

    \b
    Example:  ropsim camera --state /tmp/cam --uid 95270001ABCDEFGH --battery
    """
    flags = {name: options[name] for name in ("battery", "ptz", "h265", "wifi")}
    traits = Traits(uid, options["model"], wired=not options["no_wire"], **flags)
    sys.exit(uvloop.run(_camera(state, traits, options, strict)))


async def _camera(state: Path, traits: Traits, options: dict[str, Any], strict: bool) -> int:
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    (state / "ready.json").unlink(missing_ok=True)
    names = ("media", "recordings", "faults", "reboot_seconds", "drain_per_hour", "connect_to")
    extras = Extras(**{name: options[name] for name in names})
    one = Camera(state, traits, options["reconnect_min"], options["name"], options["firmware"], extras)
    loop = asyncio.get_running_loop()
    try:
        runner, port = await serve_setup(one, options["setup_address"], options["setup_port"])
        if not options["no_discovery"]:
            sock = discovery_socket(options["discovery_address"], options["discovery_port"])
            answers = Discovery(
                lambda asker: DiscoveryReply(traits.uid, _own(options["setup_address"], asker), port)
            )
            await loop.create_datagram_endpoint(lambda: answers, sock=sock)
    except OSError as failure:
        click.echo(f"cannot listen: {failure}", err=True)
        return EXIT_PORT
    server = await control.serve(one, state / "control.sock")
    life = asyncio.ensure_future(one.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, life.cancel)
    if strict:
        one.on_violation = life.cancel
    setup = {"address": options["setup_address"], "port": port}
    asked = {"address": options["discovery_address"], "port": options["discovery_port"]}
    discovery = None if options["no_discovery"] else asked
    ready = {"uid": traits.uid, "setup": setup, "discovery": discovery, "pid": os.getpid()}
    files.write_json(state / "ready.json", ready)
    try:
        await life
    except asyncio.CancelledError:
        pass
    finally:
        server.close()
        await runner.cleanup()
        (state / "ready.json").unlink(missing_ok=True)
    return EXIT_VIOLATION if strict and one.violations else 0


def _own(address: str, asker: str) -> str:
    """The set-up address to tell: on all interfaces, the one the asker is reached from."""
    return address if address not in ("", "0.0.0.0") else address_towards(asker)  # noqa: S104 - compared only


def _request(command: str, value: str | None) -> dict[str, Any]:
    switch = {"on": True, "off": False}
    match command, value:
        case (("status" | "disconnect" | "reset" | "renew" | "clear-faults"), None):
            return {"do": command}
        case "alarm", _:
            return {"do": "alarm", "type": value or "people"}
        case "set-name", str(name):
            return {"do": "set-name", "name": name}
        case "set-alarm", ("on" | "off") as word:
            return {"do": "set-alarm", "enabled": switch[word]}
        case "set-pir", str(text):
            return {"do": "set-pir", "pir": json.loads(text)}
        case "set-wifi", str(ssid):
            return {"do": "set-wifi", "ssid": ssid}
        case "set-fault", str(word):
            return {"do": "set-fault", "fault": word}
        case "set-battery", str(percent):
            return {"do": "set-battery", "percent": int(percent)}
    raise click.UsageError(f"{command} does not take {value!r}; see --help")


@main.command()
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the camera."
)
@click.argument("command")
@click.argument("value", required=False)
def ctl(state: Path, command: str, value: str | None) -> None:
    """Do something at a running camera, as if by its own buttons.

    \b
    COMMAND: status, alarm [TYPE], set-name NAME, set-alarm on|off, set-pir JSON, set-battery PERCENT,
             set-wifi SSID, set-fault NAME[=NUMBER], clear-faults, disconnect, renew, reset
    Example:  ropsim ctl --state /tmp/cam set-name Garden
    """
    try:
        answer = control.call(state / "control.sock", _request(command, value))
    except (control.ControlError, ValueError) as failure:
        raise click.ClickException(str(failure)) from None
    click.echo(json.dumps(answer))


@main.command()
@click.option("--devices", type=click.IntRange(1, 100_000), required=True)
@click.option("--url", "--session-url", "url", required=True, help="Client API of the server, http://HOST:61009.")
@click.option("--battery", is_flag=True, help="Keep-alive connections instead of signaling.")
@click.option("--prefix", default="FLEET", show_default=True, help="First characters of the UIDs.")
@click.option("--seconds", type=float, default=0.0, help="Stay connected for so long; 0: until stopped.")
def fleet(devices: int, url: str, battery: bool, prefix: str, seconds: float) -> None:
    """Enrol and connect many cameras from one process; the last line of the output is JSON.

    \b
    Example:  ropsim fleet --devices 1000 --url http://127.0.0.1:61009 --seconds 60
    """
    if len(prefix) > 10 or not valid_uid(prefix.ljust(16, "0")):
        raise click.BadParameter("at most 10 characters A-Z and 0-9", param_hint="--prefix")
    with suppress(KeyboardInterrupt):
        uvloop.run(_fleet(Fleet(url.rstrip("/"), battery), list(uids(prefix, devices)), seconds))


async def _fleet(cameras: Fleet, names: list[str], seconds: float) -> None:
    def report(count: int) -> None:
        if count % 100 == 0 or count == len(names):
            click.echo(f"enrolled {count} of {len(names)}", err=True)

    await cameras.enrol(names, report)
    await cameras.connect()
    click.echo(cameras.summary())
    await cameras.live(seconds or float("inf"))
    cameras.close()
    click.echo(cameras.summary())


if __name__ == "__main__":
    main()
