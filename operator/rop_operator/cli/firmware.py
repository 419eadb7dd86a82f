"""`ropctl firmware` and `ropctl rollout`: bring files, watch rollouts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from rop_operator.api.durations import format_duration
from rop_operator.api.facts import Document, FirmwareFacts, Ref
from rop_operator.api.parse import problems_of
from rop_operator.api.registry import API_VERSION, KINDS
from rop_operator.cli.backend import Backend, Object, condition
from rop_operator.cli.preview import document_of
from rop_operator.cli.read import fetch
from rop_operator.cli.show import print_data, print_table, safe
from rop_operator.cli.sources import read_fleet
from rop_operator.cli.target import EXIT_ERROR, Target, command, effective_namespace
from rop_operator.domain.operation import Situation
from rop_operator.domain.rollout import Seen
from rop_operator.domain.rollout_forecast import REMEDIES, Forecast, forecast
from rop_operator.domain.snapshot import server_ref
from rop_operator.ports import PortError

POLL = 1.0
BLOCK = 1024 * 1024
BAR = 30
KIND = next(kind for kind in KINDS if kind.kind == "FirmwareRollout")


@click.group("firmware")
def firmware() -> None:
    """Firmware files."""


def sha256_of(file: Path) -> str:
    """Hash of a file."""
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while block := source.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@firmware.command("manifest")
@click.argument("file", type=_FILE)
@click.option("--version", required=True, help="The firmware text that a camera tells once it runs this file.")
@click.option("--model", "models", required=True, multiple=True, help="A model it is made for; several times.")
@click.option("--name", help="Name of the FirmwareImage.  [default: made of the hash]")
@click.option("--url", help="Where the engine fetches it; without, it is brought with ropctl firmware upload.")
def manifest(file: Path, version: str, models: tuple[str, ...], name: str | None, url: str | None) -> None:
    """Print the FirmwareImage of a file.

    \b
    Example: ropctl firmware manifest E1.pak --version v3.1.0.2000 --model "E1 Pro" | ropctl apply -f -
    Exit codes: 0; 64 usage.
    """
    digest = sha256_of(file)
    source: dict[str, Any] = {"http": {"url": url}} if url else {"upload": {}}
    document = {
        "apiVersion": API_VERSION,
        "kind": "FirmwareImage",
        "metadata": {"name": name or f"firmware-{digest[:12]}"},
        "spec": {"sha256": digest, "version": version, "models": list(models), "source": source},
    }
    print_data(document, "yaml")


@firmware.command("upload")
@click.argument("image")
@click.argument("file", type=_FILE)
@command
async def upload(backend: Backend, target: Target, image: str, file: Path) -> None:
    """Bring the file of a FirmwareImage; one with another hash is refused. Again is harmless.

    \b
    Example: ropctl firmware upload e1-pro-4711 E1.pak
    Exit codes: 0; 1 when it is another file, or there is no such image; 64 usage.
    """
    item = await fetch(backend, Ref("FirmwareImage", await effective_namespace(backend, target), image))
    wanted, found = item["spec"]["sha256"], await asyncio.to_thread(sha256_of, file)
    if wanted != found:
        raise PortError("HashMismatch", f"{file} has the sha256 {found}, FirmwareImage {image} says {wanted}")
    await backend.put_firmware(found, file)
    if target.output in ("json", "yaml"):
        print_data({"image": image, "sha256": found, "size": file.stat().st_size}, target.output)
    else:
        click.echo(f"stored: {image} ({file.stat().st_size} bytes)")


@click.group("rollout")
def rollout() -> None:
    """Firmware rollouts."""


@rollout.command("status")
@click.argument("name")
@click.option("--watch", "-w", is_flag=True, help="Show it again whenever it changed, until it ends.")
@command
async def status(backend: Backend, target: Target, name: str, watch: bool) -> int:
    """How far a FirmwareRollout is: waves, who waits for what, who failed and why.

    \b
    Example: ropctl rollout status spring --watch
    Exit codes: 0 complete or under way; 1 failed, or there is none; 64 usage.
    """
    ref = Ref("FirmwareRollout", await effective_namespace(backend, target), name)
    shown: dict[str, Any] | None = None
    while True:
        found = summary(await fetch(backend, ref))
        if found != shown:
            shown = found
            _print(found, target.output)
        if not watch or found["end"] is not None:
            return EXIT_ERROR if found["end"] == "Failed" else 0
        await asyncio.sleep(POLL)


@rollout.command("plan")
@click.argument("name", required=False)
@click.option("-f", "--file", "files", multiple=True, metavar="FILE", help="A rollout that is not applied yet.")
@command
async def plan(backend: Backend, target: Target, name: str | None, files: tuple[str, ...]) -> int:
    """What a FirmwareRollout would do: its waves, who is left out and why, how many are dark at a time, windows.

    Nothing is changed. Which cameras are drawn into which wave is settled when it is applied.

    \b
    Examples: ropctl rollout plan -f spring.yaml
              ropctl rollout plan spring -o json
    Exit codes: 0; 1 when it could not begin, or there is none; 64 usage.
    """
    namespace = await effective_namespace(backend, target)
    document = await _planned(backend, namespace, name, files)
    problems = problems_of(KIND, document.spec)
    if problems:
        raise PortError("Invalid", str(problems[0]))
    found = forecast(await _situation(backend, document))
    if target.output in ("json", "yaml"):
        print_data(found.as_json(), target.output)
    else:
        _print_forecast(document.ref.name, found)
    return EXIT_ERROR if any(each.severity == "Error" for each in found.findings) else 0


async def _planned(backend: Backend, namespace: str, name: str | None, files: tuple[str, ...]) -> Document:
    if (name is None) == (not files):
        raise click.UsageError("give the name of a FirmwareRollout, or -f FILE")
    if name is not None:
        return document_of(await fetch(backend, Ref("FirmwareRollout", namespace, name)))
    found = [each for each in read_fleet(files, namespace).documents if each.ref.kind == "FirmwareRollout"]
    if len(found) != 1:
        raise click.UsageError(f"-f must hold one FirmwareRollout; it holds {len(found)}")
    return Document(found[0].ref, "", 1, found[0].spec, {})


async def _situation(backend: Backend, document: Document) -> Situation:
    """What the engine would decide from, without the server's folder of firmware."""
    namespace, spec = document.ref.namespace, document.spec
    server = Ref("RopServer", namespace, str(spec["serverRef"]["name"]))
    home = document_of(await fetch(backend, server))
    image = await backend.get(Ref("FirmwareImage", namespace, str(spec["imageRef"]["name"])))
    cameras = [document_of(item) for item in await backend.list("Camera", namespace)]
    devices = {device.uid: device for device in await backend.devices(server)}
    seen = Seen(document_of(image) if image is not None else None, FirmwareFacts())
    of_server = tuple(camera for camera in cameras if server_ref(camera) == server)
    return Situation(document, datetime.now(UTC), home, None, of_server, devices, seen)


def _print_forecast(name: str, found: Forecast) -> None:
    click.echo(f"{safe(name)}: {safe(found.image)}, version {safe(found.version) or 'unknown'}")
    for finding in found.findings:
        click.echo(f"! {finding.reason}: {safe(finding.message)}")
    rows = [
        [
            wave.name,
            str(len(wave.cameras)),
            str(wave.rounds),
            format_duration(wave.soak_seconds),
            "by spec.approvedWaves" if wave.approval else "by itself",
            safe(", ".join(wave.cameras[:3]) + (" ..." if len(wave.cameras) > 3 else "")),
        ]
        for wave in found.waves
    ]
    print_table(["WAVE", "CAMERAS", "ROUNDS", "SOAK", "BEGINS", "NAMES"], rows)
    for title, reasons in (("left out", found.refused), ("waits", found.waiting)):
        for reason, names in reasons.items():
            click.echo(f"{title}: {reason}: {safe(', '.join(names))}; {REMEDIES.get(reason, '')}")
    if found.already:
        click.echo(f"has it already: {safe(', '.join(found.already))}")
    for group, number in found.dark.items():
        click.echo(f"dark at a time: {safe(group)}: {number}, each {found.dark_seconds / 60:.0f} min at most")
    click.echo(f"at most {format_duration(found.at_most_seconds)} when nobody is waited for")
    if not found.window_open:
        click.echo(f"no window is open; the next one opens {found.next_window or 'never'}")


def summary(item: Object) -> dict[str, Any]:
    """What there is to say of a rollout. `eta`: seconds for what is left as it went so far, None when unknown."""
    known = item.get("status") or {}
    observed: Mapping[str, Any] = known.get("observed") or {}
    progress = known.get("progress") or {"done": 0, "total": 0}
    ready = condition(item, "Ready")
    ends = [end for end in ("Complete", "Failed") if condition(item, end).get("status") == "True"]
    return {
        "name": item["metadata"]["name"],
        "phase": known.get("phase") or "Pending",
        "reason": ready.get("reason", "Unknown"),
        "message": ready.get("message", ""),
        "end": ends[0] if ends else None,
        "done": progress["done"],
        "total": progress["total"],
        "waves": observed.get("progress") or [],
        "waiting": observed.get("waiting") or {},
        "refused": observed.get("refused") or {},
        "failed": {camera: miss.get("reason") for camera, miss in (observed.get("failed") or {}).items()},
        "eta": _eta(observed, progress),
    }


def _eta(observed: Mapping[str, Any], progress: Mapping[str, int]) -> float | None:
    """What is left, at the pace of those under way: mean duration of one, as many at a time as now."""
    count, seconds = observed.get("took") or (0, 0.0)
    left, at_once = progress["total"] - progress["done"], len(observed.get("running") or ())
    if not count or not at_once or left <= 0:
        return None
    return round(seconds / count * left / at_once, 0)


def _print(found: Mapping[str, Any], output: str) -> None:
    if output in ("json", "yaml"):
        print_data(dict(found), output)
        return
    done, total = found["done"], found["total"]
    filled = BAR * done // total if total else 0
    eta = f", about {found['eta'] / 60:.0f} min left" if found["eta"] is not None else ""
    click.echo(f"{found['name']} [{'#' * filled}{'.' * (BAR - filled)}] {done}/{total} {found['phase']}{eta}")
    click.echo(f"{found['reason']}: {safe(found['message'])}" if found["message"] else found["reason"])
    keys = ("name", "total", "updated", "running", "failed")
    if found["waves"]:
        print_table([k.upper() for k in keys], [[str(w.get(k, "")) for k in keys] for w in found["waves"]])
    for title in ("waiting", "refused", "failed"):
        for name, value in sorted(found[title].items()):
            click.echo(f"{title}: {safe(name)}: {safe(str(value))}")
