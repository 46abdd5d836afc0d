#!/usr/bin/env bash
# Prints the path of Prism, the server that others wrote which plays a service from its OpenAPI description and refuses
# calls that do not fit it. Installed once from the npm registry, outside the checkout. Exit 77 with the reason on stderr
# when it cannot be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/lib.sh
. ./lib.sh

PRISM_PINNED=5.16.0

missing() {
  printf '%s\n' "$*" >&2
  exit 77
}

folder="$SOS_TOOLS/prism-$PRISM_PINNED"
program="$folder/node_modules/@stoplight/prism-cli/dist/index.js"
if [ ! -f "$program" ]; then
  node_is_new_enough || missing "Node $NODE_OLDEST_MAJOR.$NODE_OLDEST_MINOR or newer is not installed"
  mkdir -p "$SOS_TOOLS"
  fresh="$(mktemp -d "$folder.XXXXXX")"
  trap 'rm -rf "$fresh"' EXIT
  npm install --prefix "$fresh" --no-audit --no-fund --ignore-scripts --loglevel=error \
    "@stoplight/prism-cli@$PRISM_PINNED" >&2 || missing "npm could not install @stoplight/prism-cli@$PRISM_PINNED"
  # Another run may have been faster; both are the same.
  mv -T "$fresh" "$folder" 2>/dev/null || [ -f "$program" ]
fi
printf '%s\n' "$program"
