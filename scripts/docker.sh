#!/usr/bin/env bash
# Prints the folder with the Docker daemon that the tests start for themselves, its parts, and a static busybox to make
# images from. Files of Debian's packages, taken once, outside the checkout: nothing is installed, and no daemon is started
# here. Exit 77 with the reason on stderr when they cannot be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/lib.sh
. ./lib.sh

missing() {
  printf '%s\n' "$*" >&2
  exit 77
}

ensure_docker
[ -n "${SOS_DOCKER:-}" ] || missing "Debian's packages docker.io and busybox-static cannot be had (apt-get download)"
printf '%s\n' "$SOS_DOCKER"
