#!/usr/bin/env bash
# A base image from Debian packages, for machines that reach an apt mirror and no image registry. Needs root.
# usage: image/base.sh NAME
set -euo pipefail
name=$1
mirror=${DEBIAN_MIRROR:-$(sed -nE 's/^(deb|URIs:)[^h]*(https?:[^ ]+).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1 || true)}
root=$(mktemp -d)
container=
trap 'rm -rf "$root"; [ -z "$container" ] || buildah rm "$container" >/dev/null' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$root" "$mirror" >&2
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/var/log/*
# Made by this machine, nobody else's business.
rm -f "$root"/etc/apt/sources.list "$root"/etc/resolv.conf "$root"/etc/hostname
container=$(buildah from scratch)
buildah copy -q "$container" "$root" / >/dev/null
buildah commit -q "$container" "$name" >/dev/null
echo "$name"
