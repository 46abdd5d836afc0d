#!/usr/bin/env bash
# Prints the path of the Prometheus that `cargo xtask bench series` measures beside. Its files are taken from Debian's
# package once, outside the checkout: nothing is installed and nothing is started. Exit 77 with the reason on stderr when
# it cannot be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/lib.sh
. ./lib.sh

missing() {
  printf '%s\n' "$*" >&2
  exit 77
}

ensure_promtool
# Beside promtool of the same package; ensure_promtool may have found an installed one.
program="$(command -v prometheus)" || missing "Debian's package prometheus cannot be had (apt-get download prometheus)"
version="$("$program" --version 2>&1 | awk 'NR == 1 { print $3 }')"
case "$version" in
  "$PROMETHEUS_PINNED".*) ;;
  *) missing "$program is version ${version:-unknown}; the figures are told against $PROMETHEUS_PINNED" ;;
esac
printf '%s\n' "$program"
