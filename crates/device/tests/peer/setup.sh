#!/usr/bin/env bash
# Prints the path of a Python that has the peers' packages. Installs them once into a cache outside the checkout.
# Exit 77 with the reason on stderr when they cannot be had (no Python, no package index).
set -euo pipefail
cd "$(dirname "$0")"
cache="${SOS_TEST_CACHE:-$HOME/.cache/sos-test}"
venv="$cache/peer-$(sha256sum requirements.txt | cut -c1-12)"
if [ ! -x "$venv/bin/python" ]; then
  mkdir -p "$cache"
  command -v python3 >/dev/null || { echo "python3 is not installed" >&2; exit 77; }
  fresh="$(mktemp -d "$venv.XXXXXX")"
  trap 'rm -rf "$fresh"' EXIT
  python3 -m venv "$fresh" >&2 || { echo "python3 has no venv module" >&2; exit 77; }
  "$fresh/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt >&2 \
    || { echo "the Python package index does not answer" >&2; exit 77; }
  # Another run may have been faster; both are the same. A venv's python does not mind being moved.
  mv -T "$fresh" "$venv" 2>/dev/null || [ -x "$venv/bin/python" ]
fi
echo "$venv/bin/python"
