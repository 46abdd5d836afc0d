#!/usr/bin/env bash
# Prints the folder of Restate with the service that it is measured by. Installed once from the npm registry, outside the
# checkout. Exit 77 with the reason on stderr when it cannot be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/lib.sh
. ./lib.sh

missing() {
  printf '%s\n' "$*" >&2
  exit 77
}

peer=../benches/workflow/peer
version="$(sha256sum "$peer/package-lock.json" | cut -c1-12)"
folder="$SOS_TOOLS/restate-$version"
if [ ! -d "$folder/node_modules" ]; then
  node_is_new_enough || missing "Node $NODE_OLDEST_MAJOR.$NODE_OLDEST_MINOR or newer is not installed"
  mkdir -p "$SOS_TOOLS"
  fresh="$(mktemp -d "$folder.XXXXXX")"
  trap 'rm -rf "$fresh"' EXIT
  cp "$peer/package.json" "$peer/package-lock.json" "$fresh/"
  (cd "$fresh" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2) ||
    missing "npm could not install Restate"
  # Another run may have been faster; both are the same.
  mv -T "$fresh" "$folder" 2>/dev/null || [ -d "$folder/node_modules" ]
fi
cp "$peer/service.mjs" "$folder/service.mjs"
printf '%s\n' "$folder"
