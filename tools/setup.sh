#!/usr/bin/env bash
# Makes the virtual environment $1 with every locked dependency (hashes checked) and this project's commands.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
python=${PYTHON:-python3}

missing() { echo "setup: $1" >&2; exit 1; }

command -v "$python" >/dev/null || missing "Python 3.11 or newer is needed (Debian: apt-get install python3 python3-venv), or set PYTHON=/path/to/python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  missing "$("$python" --version) is too old: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  missing "Python's venv module is missing (Debian: apt-get install python3-venv)"

command -v ffmpeg >/dev/null || echo "setup: ffmpeg is missing, the tests of streams need it (Debian: apt-get install ffmpeg)" >&2
command -v gst-launch-1.0 >/dev/null || echo "setup: GStreamer is missing, a test of streams needs it" \
  "(Debian: apt-get install gstreamer1.0-tools gstreamer1.0-plugins-good gstreamer1.0-plugins-bad)" >&2

"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt ||
  missing "the dependencies could not be installed: is a package index reachable (pip config list)?"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
# Wheels exist for Linux on x86_64 only; without it fuzzing goes on without coverage.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
  -r requirements/fuzz.txt 2>/dev/null || echo "setup: no atheris for this machine, fuzzing will not be guided by coverage" >&2
