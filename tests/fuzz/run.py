"""`make fuzz`: the fuzz targets, guided by coverage (atheris) where it is installed, else by plain mutation.

Several targets at a time, one process each. A finding is kept in `build/fuzz/findings/` and fails the run.
FUZZ_CASES=N sets how many cases all targets together get; FUZZ_TARGETS=a,b picks some.
The counts are in `build/fuzz/result.json`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE.parents[1] / "build" / "fuzz"
CORPUS = HERE / "corpus"
CASES = 10_500_000
MAX_LENGTH = 4096
# These compare two parsers byte by byte, so that a case costs several times more: they get a smaller share.
SLOW = {
    "core_packets",
    "outer_packets",
    "outer_answers",
    "outer_bodies",
    "media_frames",
    "rtsp_messages",
    "http_requests",
}
SHARE = 4
GUIDED = importlib.util.find_spec("atheris") is not None
_DONE = re.compile(r"^Done (\d+) (?:runs|in)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """What a target went through. `output` is the end of what its process said."""

    target: str
    cases: int
    ok: bool
    guided: bool
    output: str = ""


def command(target: str, cases: int, findings: Path) -> list[str]:
    """The process that fuzzes one target."""
    work = OUT / "corpus" / target
    work.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    if not GUIDED:
        return [sys.executable, str(HERE / "mutate.py"), target, str(cases), str(findings)]
    options = [
        f"-runs={cases}",
        f"-max_len={MAX_LENGTH}",
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-verbosity=1",
        f"-artifact_prefix={findings}/{target}-",
    ]
    return [sys.executable, str(HERE / "guided.py"), target, *options, str(work), str(CORPUS / target)]


def fuzz(target: str, cases: int, findings: Path = OUT / "findings") -> Result:
    """Fuzz one target to the end or to its first finding."""
    done = subprocess.run(
        command(target, cases, findings), capture_output=True, text=True, errors="replace", check=False
    )
    said = done.stdout + done.stderr
    counted = _DONE.search(said)
    return Result(
        target,
        int(counted[1]) if counted else 0,
        done.returncode == 0 and counted is not None,
        GUIDED,
        "" if done.returncode == 0 else _told(said),
    )


def _told(said: str) -> str:
    return "\n".join(line for line in said.splitlines() if not line.startswith(("INFO", "WARNING", "#")))[-4000:]


def shares(names: list[str], cases: int) -> dict[str, int]:
    """Cases by target."""
    weights = {name: 1 if name in SLOW else SHARE for name in names}
    unit = cases / sum(weights.values())
    return {name: int(unit * weight) + 1 for name, weight in weights.items()}


def main() -> int:
    """Fuzz, print a table, keep the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=int(os.environ.get("FUZZ_CASES", CASES)))
    told = parser.parse_args()
    every = sorted(each.name for each in CORPUS.iterdir() if each.is_dir())
    names = os.environ.get("FUZZ_TARGETS", ",".join(every)).split(",")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = []
        for result in pool.map(lambda each: fuzz(*each), shares(names, told.cases).items()):
            results.append(result)
            print(f"{result.target:22}{result.cases:>12,}  {'ok' if result.ok else 'FINDING'}", flush=True)
            if not result.ok:
                print(result.output, flush=True)
    total = sum(each.cases for each in results)
    print(f"{'all':22}{total:>12,}  {'guided by coverage' if GUIDED else 'plain mutation'}")
    report = {"cases": total, "guided": GUIDED, "targets": [asdict(each) for each in results]}
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "result.json").write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(each.ok for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
