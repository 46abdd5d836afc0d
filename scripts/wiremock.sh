#!/usr/bin/env bash
# Prints the path of WireMock, a server that others wrote which answers badly on demand. Fetched once from Maven Central,
# outside the checkout. Exit 77 with the reason on stderr when it, or a Java to run it, cannot be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/lib.sh
. ./lib.sh

WIREMOCK_PINNED=3.13.2

missing() {
  printf '%s\n' "$*" >&2
  exit 77
}

java -version >/dev/null 2>&1 || missing 'Java 11 or newer is not installed'
folder="$SOS_TOOLS/wiremock-$WIREMOCK_PINNED"
program="$folder/wiremock-standalone-$WIREMOCK_PINNED.jar"
if [ ! -f "$program" ]; then
  command -v mvn >/dev/null || missing 'Maven is not installed'
  mkdir -p "$SOS_TOOLS"
  fresh="$(mktemp -d "$folder.XXXXXX")"
  trap 'rm -rf "$fresh"' EXIT
  # Outside any project: only the artifact itself is asked for.
  (cd "$fresh" && mvn --batch-mode --quiet org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
    -Dartifact="org.wiremock:wiremock-standalone:$WIREMOCK_PINNED" -DoutputDirectory="$fresh") >&2 ||
    missing "Maven could not fetch org.wiremock:wiremock-standalone:$WIREMOCK_PINNED"
  mv -T "$fresh" "$folder" 2>/dev/null || [ -f "$program" ]
fi
printf '%s\n' "$program"
