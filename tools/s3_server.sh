#!/usr/bin/env bash
# Builds versitygw, the S3 server of the tests, from its Go module and prints its path. ROP_S3_SERVER names one of your
# own instead. Cold: about a minute on two cores; warm: nothing.
set -euo pipefail
if [ -n "${ROP_S3_SERVER:-}" ]; then
  [ -x "$ROP_S3_SERVER" ] || { echo "ROP_S3_SERVER=$ROP_S3_SERVER is no program" >&2; exit 1; }
  echo "$ROP_S3_SERVER"; exit 0
fi
here=$(cd "$(dirname "$0")/../tests/s3" && pwd)
version=$(sed -n 's,.*github.com/versity/versitygw v\([0-9.]*\).*,\1,p' "$here/go.mod")
out=${ROP_S3_BIN:-${XDG_CACHE_HOME:-$HOME/.cache}/rop-operator/s3-$version}
mkdir -p "$out"
exec 9>"$out/.lock"; flock 9   # two test runs at once: one builds, the other waits
if [ ! -x "$out/versitygw" ]; then
  command -v go >/dev/null || { echo "Go 1.26 or newer is needed to build the S3 server for the tests:
  install it from https://go.dev/dl/, or set ROP_S3_SERVER to a versitygw $version" >&2; exit 1; }
  echo "building versitygw $version (a minute, once)" >&2
  (cd "$here" && CGO_ENABLED=0 go build -ldflags "-s -w" -o "$out/versitygw.new" github.com/versity/versitygw/cmd/versitygw &&
    mv "$out/versitygw.new" "$out/versitygw")
fi
echo "$out/versitygw"
