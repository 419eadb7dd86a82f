#!/usr/bin/env bash
# Runs ansible-lint on the collection, from an environment of its own (build/ansible), which it makes when needed.
# Needs a package index once.
set -euo pipefail
cd "$(dirname "$0")/.."
environment=build/ansible
lock=requirements/ansible.txt
if ! cmp -s "$lock" "$environment/installed.txt"; then
  rm -rf "$environment"
  "${PYTHON:-python3}" -m venv "$environment"
  "$environment/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$lock"
  cp "$lock" "$environment/installed.txt"
fi
export PATH="$PWD/$environment/bin:$PATH" ANSIBLE_HOME="$PWD/build/ansible-home"
exec ansible-lint "$@"
