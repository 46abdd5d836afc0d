#!/usr/bin/env bash
# Prints two lines: the path of connectconformance, the conformance suite of connectrpc.com that our gRPC client is held
# against, and the folder with its .proto files. Built once from the Go module of this version, outside the checkout; nothing
# of it is committed. Exit 77 with the reason on stderr when it cannot be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/lib.sh
. ./lib.sh

CONFORMANCE_PINNED=v1.0.7

missing() {
  printf '%s\n' "$*" >&2
  exit 77
}

folder="$SOS_TOOLS/connectconformance-$CONFORMANCE_PINNED"
if [ ! -x "$folder/bin/connectconformance" ] || [ ! -d "$folder/proto" ]; then
  go="$(PATH="$PATH:/usr/local/go/bin" command -v go)" || missing 'go is not installed'
  mkdir -p "$SOS_TOOLS"
  fresh="$(mktemp -d "$folder.XXXXXX")"
  # Modules are written read-only.
  trap 'chmod -R u+w "$fresh" 2>/dev/null || true; rm -rf "$fresh"' EXIT
  export GOBIN="$fresh/bin" GOPATH="$fresh/go" GOCACHE="$fresh/cache" GOFLAGS=-modcacherw GOTOOLCHAIN=local
  "$go" install "connectrpc.com/conformance/cmd/connectconformance@$CONFORMANCE_PINNED" >&2 ||
    missing "go could not install connectrpc.com/conformance $CONFORMANCE_PINNED"
  mv "$fresh/go/pkg/mod/connectrpc.com/conformance@$CONFORMANCE_PINNED/proto" "$fresh/proto"
  rm -rf "$fresh/go" "$fresh/cache"
  # Another run may have been faster; both are the same.
  mv -T "$fresh" "$folder" 2>/dev/null || [ -x "$folder/bin/connectconformance" ]
fi
printf '%s\n' "$folder/bin/connectconformance" "$folder/proto"
