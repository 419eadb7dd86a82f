#!/usr/bin/env bash
# Builds Helm from its Go module for the tests of the chart and prints its path. ROP_HELM names one of your own instead.
# Cold: about two minutes on two cores; warm: nothing.
set -euo pipefail
if [ -n "${ROP_HELM:-}" ]; then
  [ -x "$ROP_HELM" ] || { echo "ROP_HELM=$ROP_HELM is no program" >&2; exit 1; }
  echo "$ROP_HELM"; exit 0
fi
version=v3.19.4
out=${XDG_CACHE_HOME:-$HOME/.cache}/rop-operator/helm-${version#v}
mkdir -p "$out"
exec 9>"$out/.lock"; flock 9   # two test runs at once: one builds, the other waits
if [ ! -x "$out/helm" ]; then
  command -v go >/dev/null || { echo "Go 1.26 or newer is needed to build Helm for the tests of the chart:
  install it from https://go.dev/dl/, or set ROP_HELM to a helm $version" >&2; exit 1; }
  echo "building helm $version (two minutes, once)" >&2
  m=helm.sh/helm/v3
  flags="-s -w -X $m/internal/version.version=$version"
  for p in chartutil lint/rules; do flags+=" -X $m/pkg/$p.k8sVersionMajor=1 -X $m/pkg/$p.k8sVersionMinor=34"; done
  CGO_ENABLED=0 GOFLAGS=-mod=mod GOBIN="$out/bin" go install -ldflags "$flags" "$m/cmd/helm@$version"
  mv "$out/bin/helm" "$out/helm"
fi
echo "$out/helm"
