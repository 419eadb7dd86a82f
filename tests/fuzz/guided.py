"""One target under atheris: `guided.py TARGET [libFuzzer options] CORPUS...`. Started by `run.py`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(
    include=["rop_wire", "rop_server", "rop_data", "targets"], enable_loader_override=False
):
    import targets

if __name__ == "__main__":
    target = targets.TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
