#!/usr/bin/env bash
# Says which programs the tests need are missing, all at once, and how to get them. `needs.sh hosts`: those of make test-hosts.
set -euo pipefail
declare -A package=(
  [openssl]=openssl
  [ffmpeg]=ffmpeg
  [ffprobe]=ffmpeg
  [git]=git
  [nginx]="nginx libnginx-mod-stream"
  [htpasswd]=apache2-utils
  [sslscan]=sslscan
  [faketime]=faketime
  [gnutls-cli]=gnutls-bin
  [mkfs.ext4]=e2fsprogs
  [gst-launch-1.0]="gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
)
if [ "${1:-}" = hosts ]; then
  package=([openssl]=openssl [git]=git [systemd-nspawn]=systemd-container [debootstrap]=debootstrap [ssh]=openssh-client [ip]=iproute2
    [curl]=curl [dh]=debhelper [help2man]=help2man [lintian]=lintian)
fi
missing=()
for program in "${!package[@]}"; do
  PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || missing+=("$program (Debian: apt-get install ${package[$program]})")
done
for_tests=$([ "${1:-}" = hosts ] || echo yes)
if [ "$for_tests" ] && [ -z "${KUBEBUILDER_ASSETS:-}" ] && ! command -v go >/dev/null; then
  missing+=("go 1.26 (https://go.dev/dl/), or KUBEBUILDER_ASSETS=a folder with kube-apiserver, etcd and kubectl")
fi
if [ "$for_tests" ] && [ -z "${ROP_S3_SERVER:-}" ] && ! command -v go >/dev/null; then
  missing+=("go 1.26 (https://go.dev/dl/), or ROP_S3_SERVER=path of versitygw")
fi
[ ${#missing[@]} -eq 0 ] && exit 0
echo "make test${1:+-$1} needs what is not on this machine:" >&2
printf '  %s\n' "${missing[@]}" >&2
exit 1
