#!/usr/bin/env bash
# Prints the path of a Python that has the packages of a list in this folder: by default peers.txt, the independent
# implementations that the tests speak with. Installs them once, outside the checkout. Exit 77 with the reason on stderr
# when they cannot be had. SOS_PYTHON names another Python than python3.
#   scripts/peers.sh [LIST.txt]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/lib.sh
. ./lib.sh

missing() {
  printf '%s\n' "$*" >&2
  exit 77
}

list="${1:-peers.txt}"
python="${SOS_PYTHON:-python3}"
[ -f "$list" ] || missing "there is no list scripts/$list"
wanted="$(sha256sum "$list" | cut -c1-12)"
folder="$SOS_TOOLS/${list%.txt}-$wanted"
if [ ! -x "$folder/bin/python" ]; then
  command -v "$python" >/dev/null || missing "$python is not installed"
  mkdir -p "$SOS_TOOLS"
  fresh="$(mktemp -d "$folder.XXXXXX")"
  trap 'rm -rf "$fresh"' EXIT
  "$python" -m venv "$fresh" >&2 || missing "$python cannot make an environment (Debian: apt-get install python3-venv)"
  "$fresh/bin/python" -m pip --no-input install --quiet --disable-pip-version-check --requirement "$list" >&2 ||
    missing "pip could not install the packages of scripts/$list"
  # Another run may have been faster; both are the same. An environment's python does not mind being moved.
  mv -T "$fresh" "$folder" 2>/dev/null || [ -x "$folder/bin/python" ]
fi
printf '%s\n' "$folder/bin/python"
