"""One target without coverage: `mutate.py TARGET CASES FINDINGS`, as `guided.py` speaks. Started by `run.py`."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
WORDS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\0\0", b"\0\0\0\x80", b"\r\n\r\n", b"<a>", b"{}", b"\0\0\0\1")


def mutated(rng: random.Random, sources: list[bytes]) -> bytes:
    """A source with some bytes changed, cut, doubled or spliced with another."""
    data = bytearray(rng.choice(sources))
    for _ in range(rng.randrange(1, 6)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[place : place + 1] = rng.randbytes(1)
            case 1:
                data[place : place + rng.randrange(1, 9)] = rng.choice(WORDS)
            case 2:
                del data[place : place + rng.randrange(1, 40)]
            case 3:
                data[place:place] = data[rng.randrange(len(data) + 1) :][:64]
            case 4:
                data[place:] = rng.choice(sources)[place:]
            case _:
                data[place:place] = rng.randbytes(rng.randrange(1, 17))
    return bytes(data[:4096])


def run(target: Callable[[bytes], None], name: str, cases: int, findings: Path) -> None:
    """Feed the corpus, then mutations of it; what fails is kept."""
    sources = [each.read_bytes() for each in sorted((CORPUS / name).iterdir())]
    rng = random.Random(name)
    for number in range(cases):
        data = sources[number] if number < len(sources) else mutated(rng, sources)
        try:
            target(data)
        except BaseException:
            findings.mkdir(parents=True, exist_ok=True)
            (findings / f"{name}-crash-{number}").write_bytes(data)
            raise


def main() -> None:
    """One target."""
    import targets

    name, cases, findings = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    run(targets.TARGETS[name], name, cases, findings)
    print(f"Done {cases} runs")


if __name__ == "__main__":
    main()
