#!/usr/bin/env bash
# Servers of SOAP, and WSDL documents, that others wrote. Each is installed once, outside the checkout, and its place is
# printed. Exit 77 with the reason on stderr when it cannot be had.
#   scripts/soap_peers.sh spyne   a Python that has spyne
#   scripts/soap_peers.sh node    a folder whose node_modules has npm's soap
#   scripts/soap_peers.sh cxf     a class path with Apache CXF and our service for it (crates/call/tests/peer/soap/cxf)
#   scripts/soap_peers.sh wsdls   a folder with WSDL documents of CXF, zeep and strong-soap
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/lib.sh
. ./lib.sh

NODE_SOAP_PINNED=1.13.0
STRONG_SOAP_PINNED=6.0.1
ZEEP_PINNED=4.3.3
CXF_PINNED=4.2.3
fresh=

missing() {
  printf '%s\n' "$*" >&2
  exit 77
}

# keep FRESH FOLDER: another run may have been faster; both are the same.
keep() {
  mv -T "$1" "$2" 2>/dev/null || [ -d "$2" ]
}

spyne() {
  local name
  # spyne 2.14 does not run on Python 3.12.
  for name in python3.11 python3.10 python3.9 python3; do
    if "$name" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info < (3, 12))' 2>/dev/null; then
      SOS_PYTHON="$name" exec ./peers.sh soap-peers.txt
    fi
  done
  missing 'spyne needs Python 3.9, 3.10 or 3.11'
}

node() {
  local folder="$SOS_TOOLS/node-soap-$NODE_SOAP_PINNED"
  command -v npm >/dev/null || missing 'npm is not installed'
  if [ ! -d "$folder" ]; then
    mkdir -p "$SOS_TOOLS"
    fresh="$(mktemp -d "$folder.XXXXXX")"
    trap 'rm -rf "$fresh"' EXIT
    npm install --prefix "$fresh" --no-audit --no-fund --loglevel=error "soap@$NODE_SOAP_PINNED" >&2 ||
      missing "npm could not install soap $NODE_SOAP_PINNED"
    keep "$fresh" "$folder"
  fi
  printf '%s\n' "$folder"
}

cxf() {
  local source=../crates/call/tests/peer/soap/cxf key folder
  if ! { command -v mvn && command -v javac; } >/dev/null; then missing 'Maven or a JDK is not installed'; fi
  key="$(cat "$source"/pom.xml "$source"/*.java | sha256sum | cut -c1-12)"
  folder="$SOS_TOOLS/cxf-$CXF_PINNED-$key"
  if [ ! -d "$folder" ]; then
    mkdir -p "$SOS_TOOLS"
    fresh="$(mktemp -d "$folder.XXXXXX")"
    trap 'rm -rf "$fresh"' EXIT
    mvn --quiet --batch-mode --file "$source/pom.xml" "-Dcxf.version=$CXF_PINNED" dependency:copy-dependencies \
      "-DoutputDirectory=$fresh/jars" -DincludeScope=runtime >&2 || missing "Maven could not get CXF $CXF_PINNED"
    mkdir "$fresh/classes"
    javac -nowarn -proc:none -d "$fresh/classes" -classpath "$fresh/jars/*" "$source"/*.java >&2 ||
      die 'the service for CXF could not be compiled'
    keep "$fresh" "$folder"
  fi
  printf '%s\n' "$folder/classes:$folder/jars/*"
}

wsdls() {
  local folder="$SOS_TOOLS/wsdls-$CXF_PINNED-$ZEEP_PINNED-$STRONG_SOAP_PINNED"
  if [ ! -d "$folder" ]; then
    if ! { command -v mvn && command -v npm && command -v python3; } >/dev/null; then
      missing 'Maven, npm or Python is not installed'
    fi
    mkdir -p "$SOS_TOOLS"
    fresh="$(mktemp -d "$folder.XXXXXX")"
    trap 'rm -rf "$fresh"' EXIT
    mkdir "$fresh/get"
    mvn --quiet --batch-mode dependency:get -Dtransitive=false "-Dartifact=org.apache.cxf:cxf-testutils:$CXF_PINNED" >&2 ||
      missing "Maven could not get the tests of CXF $CXF_PINNED"
    mvn --quiet --batch-mode dependency:copy "-Dartifact=org.apache.cxf:cxf-testutils:$CXF_PINNED" \
      "-DoutputDirectory=$fresh/get" >&2 || missing "Maven could not get the tests of CXF $CXF_PINNED"
    (cd "$fresh/get" && npm pack --silent "strong-soap@$STRONG_SOAP_PINNED" >&2) ||
      missing "npm could not get strong-soap $STRONG_SOAP_PINNED"
    python3 -m pip --no-input download --quiet --disable-pip-version-check --no-deps --no-binary zeep \
      --dest "$fresh/get" "zeep==$ZEEP_PINNED" >&2 || missing "pip could not get zeep $ZEEP_PINNED"
    python3 - "$fresh" <<'PYTHON' || die 'the WSDL documents could not be unpacked'
import pathlib, sys, tarfile, zipfile

to = pathlib.Path(sys.argv[1])

def keep(origin, name, data):
    if name.endswith((".wsdl", ".xsd")) and ".." not in name:
        path = to / origin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

for archive in sorted((to / "get").iterdir()):
    origin = archive.name.split("-")[0]
    if archive.suffix == ".jar":
        with zipfile.ZipFile(archive) as jar:
            for name in jar.namelist():
                keep(origin, name, jar.read(name) if not name.endswith("/") else b"")
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile():
                    keep(origin, member.name, tar.extractfile(member).read())
PYTHON
    rm -rf "$fresh/get"
    keep "$fresh" "$folder"
  fi
  printf '%s\n' "$folder"
}

case "${1:-}" in
  spyne | node | cxf | wsdls) "$1" ;;
  *) die 'usage: scripts/soap_peers.sh spyne|node|cxf|wsdls' ;;
esac
