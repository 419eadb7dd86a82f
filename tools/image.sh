#!/usr/bin/env bash
# Builds the container image with buildah and writes it as an OCI archive.
# usage: tools/image.sh [NAME [ARCHIVE]]   BASE=IMAGE names another base; BASE=debian builds one from Debian packages
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-localhost/rop-operator:dev}
archive=${2:-build/rop-operator.oci.tar}
base=${BASE:-docker.io/library/python:3.11-slim-bookworm}
command -v buildah >/dev/null || { echo "buildah is needed: apt-get install buildah" >&2; exit 1; }
rm -rf build/wheels
python=.venv/bin/python
# Wheels for the base's Python, by hash, whatever Python this machine has.
"$python" -m pip download -q --only-binary :all: --python-version 3.11 --implementation cp --no-deps --require-hashes \
  -r requirements/runtime.txt -d build/wheels
"$python" -m pip wheel -q --no-deps --no-build-isolation . -w build/wheels
if [ "$base" = debian ]; then
  base=localhost/rop-base:bookworm
  buildah inspect "$base" >/dev/null 2>&1 || image/base.sh "$base"
fi
epoch=$(git log -1 --format=%ct)
buildah bud -q --isolation "${ISOLATION:-chroot}" --timestamp "$epoch" --build-arg "BASE=$base" -f image/Containerfile \
  -t "$name" .
mkdir -p "$(dirname "$archive")"
rm -f "$archive"
buildah push -q "$name" "oci-archive:$archive:$name"
echo "$archive"
