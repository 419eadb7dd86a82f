#!/usr/bin/env bash
# Builds kube-apiserver, kubectl and etcd from their Go modules for the cluster tests and prints the folder they are in.
# A set of your own is used instead when KUBEBUILDER_ASSETS names it. Cold: about 7 minutes on two cores; warm: nothing.
set -euo pipefail
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  for c in kube-apiserver etcd kubectl; do
    [ -x "$KUBEBUILDER_ASSETS/$c" ] || { echo "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no $c" >&2; exit 1; }
  done
  echo "$KUBEBUILDER_ASSETS"; exit 0
fi
here=$(cd "$(dirname "$0")/../tests/kube" && pwd)
version=v1.37.2
out=${ROP_KUBE_BIN:-${XDG_CACHE_HOME:-$HOME/.cache}/rop-operator/kube-${version#v}}
mkdir -p "$out"
exec 9>"$out/.lock"; flock 9   # two test runs at once: one builds, the other waits
missing=0
for c in kube-apiserver kubectl etcd; do [ -x "$out/$c" ] || missing=1; done
if [ $missing = 1 ]; then
  command -v go >/dev/null || { echo "Go 1.26 or newer is needed to build the Kubernetes API server for the cluster tests:
  install it from https://go.dev/dl/, or set KUBEBUILDER_ASSETS to a folder with kube-apiserver, etcd and kubectl" >&2; exit 1; }
  x=k8s.io/component-base/version
  flags="-s -w -X $x.gitVersion=$version -X $x.gitMajor=1 -X $x.gitMinor=37 -X $x.gitTreeState=clean"
  export CGO_ENABLED=0 GOFLAGS=-mod=mod
  for c in kube-apiserver kubectl; do
    [ -x "$out/$c" ] || { echo "building $c $version (a few minutes, once)" >&2
      (cd "$here" && go build -ldflags "$flags" -o "$out/$c.new" "k8s.io/kubernetes/cmd/$c" && mv "$out/$c.new" "$out/$c"); }
  done
  [ -x "$out/etcd" ] || { echo "building etcd" >&2
    (cd "$here/etcd" && go build -ldflags "-s -w" -o "$out/etcd.new" go.etcd.io/etcd/server/v3 && mv "$out/etcd.new" "$out/etcd"); }
fi
echo "$out"
