"""The self-test of drills: every sabotage turns one red, with the right reason; the control stays green."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rop_data.archive import container
from rop_data.archive.create import make
from rop_data.archive.items import collect
from rop_data.archive.manifest import Recipient
from rop_data.archive.restore import Expectation
from rop_data.drill import DrillCamera, read
from rop_data.layout import DataDir
from rop_drill.drill import Inputs
from rop_drill.forge import Stage
from rop_drill.perform import perform
from rop_drill.sabotage import Sabotage, every
from rop_drill.scratch import scratch
from rop_drill.server import PROGRAM
from rop_drill.source import Fetched
from rop_pki.envelope import Identities, new_identity, parse_identities, recipient_of

HOST = "selftest.invalid"
_MAX_AGE = timedelta(hours=25)
_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `right`: red with one of the expected reasons, green for the control."""

    name: str
    expected: str
    got: str
    right: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Real:
    """A real archive to sabotage copies of, and what opens and tries it."""

    fetched: Fetched
    identities: Identities
    camera: DrillCamera
    expected: Expectation


def self_test(real: Real | None, isolation: str, program: Sequence[str] = PROGRAM) -> Iterator[Row]:
    """Try every sabotage on copies of a real archive, or on one of a site made for this."""
    with scratch() as place:
        other = _site(place.folder / "other", program)
        items = collect(other).files
        real = real or _own(place.folder, program)
        stage = _stage(real, items)
        good = Inputs(
            fetch=lambda: real.fetched,
            identify=lambda: real.identities,
            camera=real.camera,
            expected=real.expected,
            max_age=_MAX_AGE,
            program=program,
            isolate=lambda: isolation,
        )
        for number, sabotage in enumerate(every(stage)):
            folder = place.folder / f"case-{number}"
            folder.mkdir()
            yield _try(sabotage, sabotage.build(stage, good, folder))


def _try(sabotage: Sabotage, inputs: Inputs) -> Row:
    began = datetime.now(UTC)
    outcome = perform(inputs, _SECONDS)
    wanted = " or ".join(each.text for each in sabotage.expected) or "Passed"
    got = outcome.reason.text if outcome.reason else "Passed"
    right = outcome.reason in sabotage.expected if sabotage.expected else outcome.reason is None
    return Row(sabotage.name, wanted, got, right, round((datetime.now(UTC) - began).total_seconds(), 2))


def _stage(real: Real, other: Mapping[str, bytes]) -> Stage:
    """Open the good archive. Raises ArchiveError."""
    whole = container.read(real.fetched.data)
    opened = container.unpack(whole, real.identities)
    return Stage(
        real.fetched.name,
        real.fetched.data,
        whole,
        opened,
        real.identities,
        real.camera,
        real.expected,
        other,
    )


def _site(folder: Path, program: Sequence[str]) -> DataDir:
    """A site as the programs make it, with a drill camera beside it."""
    environment = {**os.environ, "ROP_HOSTNAME": HOST}
    for words in (
        ("configure", "--data", str(folder)),
        ("drill-camera", "enrol", "--data", str(folder), "--to", f"{folder}.camera"),
    ):
        subprocess.run([*program, *words], env=environment, check=True, capture_output=True)  # noqa: S603
    return DataDir(folder)


def _own(folder: Path, program: Sequence[str]) -> Real:
    """An archive of a site made for this, opened with an identity that does not open the root's key."""
    directory = _site(folder / "site", program)
    keys = [new_identity() for _ in range(3)]
    names = (("alice", "All"), ("bob", "All"), ("drill", "WithoutRootKey"))
    recipients = tuple(
        Recipient(name, scope, recipient_of(key)) for (name, scope), key in zip(names, keys, strict=True)
    )
    made = make(directory, recipients, None, datetime.now(UTC))
    camera = read(Path(f"{directory.root}.camera"))
    expected = Expectation(camera.site_signer, camera.root_sha256)
    return Real(Fetched(made.name, made.data), parse_identities(keys[2]), camera, expected)
