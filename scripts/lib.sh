# Shell functions shared by ./run and ./test. Source it from a script that stands in the repository's root.
# shellcheck shell=bash

# Pinned tools are kept here, outside the checkout, so that a fresh clone finds them again.
SOS_TOOLS="${XDG_CACHE_HOME:-$HOME/.cache}/sos/tools"

# Oldest Node that builds web/, and the one installed where the system's is older.
NODE_OLDEST_MAJOR=20
NODE_OLDEST_MINOR=19
NODE_PINNED=22.23.3

say() { printf '%s\n' "== $*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 3
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null 2>&1; then
    sudo "$@"
  else
    die "needs root to run: $* (install sudo, or run it as root yourself)"
  fi
}

has_package() {
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# ensure_packages PACKAGE…: installs the Debian/Ubuntu packages that are missing; says nothing when none is.
ensure_packages() {
  local missing=() package
  command -v dpkg-query >/dev/null 2>&1 ||
    die "this is no Debian or Ubuntu; install what these packages hold, then build with cargo: $*"
  for package in "$@"; do
    has_package "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  say "installing ${missing[*]}"
  as_root apt-get update -qq >&2 || say "apt-get update failed; trying with the lists there are"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
    die "apt-get could not install: ${missing[*]}"
}

# What cargo needs besides Rust: compiler and linker, cmake and libclang for the solver and the boosted trees.
ensure_build_tools() {
  ensure_packages build-essential clang libclang-dev mold cmake pkg-config git ca-certificates
  ensure_cmake
  ensure_rust
}

# The boosted trees (LightGBM) ask for a newer CMake than Debian 12 has; then a pinned one comes from PyPI.
CMAKE_OLDEST=3.28
CMAKE_PINNED=3.31.6
ensure_cmake() {
  local have folder="$SOS_TOOLS/cmake-$CMAKE_PINNED"
  have="$(cmake --version 2>/dev/null | awk 'NR == 1 { print $3 }')"
  [ "$(printf '%s\n%s\n' "$CMAKE_OLDEST" "$have" | sort -V | head -n 1)" = "$CMAKE_OLDEST" ] && return 0
  if [ ! -x "$folder/bin/cmake" ]; then
    ensure_packages python3 python3-venv
    say "installing CMake $CMAKE_PINNED into $folder (the system's $have is too old)"
    python3 -m venv "$folder" >&2 || die "python3 could not make an environment in $folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "cmake==$CMAKE_PINNED" >&2 ||
      die "pip could not install cmake==$CMAKE_PINNED"
  fi
  # Read by the build scripts that run CMake.
  export CMAKE="$folder/bin/cmake"
}

ensure_rust() {
  command -v cargo >/dev/null 2>&1 || PATH="$HOME/.cargo/bin:$PATH"
  command -v cargo >/dev/null 2>&1 || die "Rust is missing; install it from https://rustup.rs and start again"
  if ! rustc --version >/dev/null 2>&1 && command -v rustup >/dev/null 2>&1; then
    say "installing the Rust toolchain that rust-toolchain.toml names"
    rustup toolchain install >&2 || die "rustup could not install the toolchain that rust-toolchain.toml names"
  fi
  rustc --version >/dev/null 2>&1 || die "rustc does not run; see rust-toolchain.toml for the version this project needs"
}

node_is_new_enough() {
  local version major minor
  version="$(node --version 2>/dev/null)" || return 1
  command -v npm >/dev/null 2>&1 || return 1
  version="${version#v}"
  major="${version%%.*}"
  minor="${version#*.}"
  minor="${minor%%.*}"
  [ "$major" -gt "$NODE_OLDEST_MAJOR" ] || { [ "$major" -eq "$NODE_OLDEST_MAJOR" ] && [ "$minor" -ge "$NODE_OLDEST_MINOR" ]; }
}

# Node builds the dashboard. Where the distribution's is too old, a pinned one comes from the npm registry.
ensure_node() {
  [ -f web/package.json ] || return 0
  node_is_new_enough && return 0
  local folder="$SOS_TOOLS/node-$NODE_PINNED"
  if [ ! -x "$folder/node_modules/node/bin/node" ]; then
    command -v npm >/dev/null 2>&1 || ensure_packages nodejs npm
    node_is_new_enough && return 0
    say "installing Node $NODE_PINNED into $folder (the system's $(node --version) is too old)"
    npm install --prefix "$folder" --no-audit --no-fund --loglevel=error "node@$NODE_PINNED" >&2 ||
      die "npm could not install node@$NODE_PINNED"
  fi
  PATH="$folder/node_modules/node/bin:$PATH"
  export PATH
  node_is_new_enough || die "Node $NODE_OLDEST_MAJOR.$NODE_OLDEST_MINOR or newer is needed, with npm; found $(node --version)"
}

# Packages of the dashboard, as locked; only when the lock file changed. The build of crates/api keeps the same mark.
ensure_web_packages() {
  [ -f web/package.json ] || return 0
  cmp -s web/package-lock.json web/node_modules/.sos-lock && return 0
  say "installing the dashboard's packages"
  (cd web && npm ci --prefer-offline --no-audit --no-fund --loglevel=error >&2) || die "npm ci failed in web/"
  cp web/package-lock.json web/node_modules/.sos-lock
}

# Python with the independent SunSpec and Modbus peers. The tests ask scripts/peers.sh for it too.
ensure_peers() {
  python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || ensure_packages python3 python3-venv
  say "looking for the independent peers of scripts/peers.txt"
  scripts/peers.sh >/dev/null || die "the independent peers of scripts/peers.txt cannot be had"
}

# promtool judges the metrics; scripts/prometheus.sh hands out the server for a benchmark. Only the files are taken from the
# package: the server is neither installed nor started. Its queries and answers are what ours are held against.
# shellcheck disable=SC2034 # read by scripts/prometheus.sh
PROMETHEUS_PINNED=2.42
ensure_promtool() {
  command -v promtool >/dev/null 2>&1 && return 0
  local folder="$SOS_TOOLS/prometheus"
  if [ ! -x "$folder/usr/bin/promtool" ]; then
    say "taking promtool from Debian's package prometheus into $folder"
    mkdir -p "$folder"
    # In a subshell: where there is none, the tests that need it say so.
    (cd "$folder" && { apt-get download -qq prometheus || { as_root apt-get update -qq && apt-get download -qq prometheus; }; } &&
      dpkg-deb --extract prometheus_*.deb . && rm -f prometheus_*.deb) >&2 || return 0
  fi
  PATH="$folder/usr/bin:$PATH"
  export PATH
}

# A broker for the tests of MQTT. As with promtool only files are taken, with the libraries that are missing: installed, the
# package would start a broker on this machine.
ensure_mosquitto() {
  local folder="$SOS_TOOLS/mosquitto" found
  if found="$(PATH="$PATH:/usr/sbin" command -v mosquitto)"; then
    SOS_MOSQUITTO="$found"
  else
    if [ ! -x "$folder/usr/sbin/mosquitto" ]; then
      say "taking the broker from Debian's package mosquitto into $folder"
      mkdir -p "$folder"
      # In a subshell: where there is none, the tests that need it say so.
      (cd "$folder" && { download_with_missing mosquitto || { as_root apt-get update -qq && download_with_missing mosquitto; }; } &&
        for package in *.deb; do dpkg-deb --extract "$package" . || exit 1; done && rm -f ./*.deb) >&2 || return 0
    fi
    printf '#!/bin/sh\nexport LD_LIBRARY_PATH=%s\nexec %s/usr/sbin/mosquitto "$@"\n' \
      "$folder/usr/lib/$(uname -m)-linux-gnu:$folder/lib/$(uname -m)-linux-gnu" "$folder" >"$folder/run"
    chmod +x "$folder/run"
    SOS_MOSQUITTO="$folder/run"
  fi
  export SOS_MOSQUITTO
}

# A NATS server for the tests of channels, taken as the broker above is.
ensure_nats() {
  local folder="$SOS_TOOLS/nats-server" found
  if found="$(PATH="$PATH:/usr/sbin" command -v nats-server)"; then
    SOS_NATS="$found"
  else
    if [ ! -x "$folder/usr/sbin/nats-server" ] && [ ! -x "$folder/usr/bin/nats-server" ]; then
      say "taking the server from Debian's package nats-server into $folder"
      mkdir -p "$folder"
      # In a subshell: where there is none, the tests that need it say so.
      (cd "$folder" && { apt-get download -qq nats-server || { as_root apt-get update -qq && apt-get download -qq nats-server; }; } &&
        dpkg-deb --extract nats-server_*.deb . && rm -f nats-server_*.deb) >&2 || return 0
    fi
    SOS_NATS="$folder/usr/sbin/nats-server"
    [ -x "$SOS_NATS" ] || SOS_NATS="$folder/usr/bin/nats-server"
  fi
  export SOS_NATS
}

# A Docker daemon for the tests of containers, taken as the broker above is, with a busybox that needs no libraries: what
# images are made from where no registry is reached.
ensure_docker() {
  local folder="$SOS_TOOLS/docker" fresh
  if [ ! -x "$folder/usr/sbin/dockerd" ] || [ ! -x "$folder/bin/busybox" ]; then
    say "taking the Docker daemon from Debian's package docker.io into $folder"
    mkdir -p "$SOS_TOOLS"
    fresh="$(mktemp -d "$folder.XXXXXX")"
    # In a subshell: where there is none, the tests that need it say so.
    (cd "$fresh" && { download_docker || { as_root apt-get update -qq && download_docker; }; } &&
      for package in *.deb; do dpkg-deb --extract "$package" . || exit 1; done && rm -f ./*.deb) >&2 ||
      { rm -rf "$fresh" && return 0; }
    # Within a container the daemon leads names to its resolver with it. Installing the package would make this link.
    [ ! -e "$fresh/usr/sbin/iptables-nft" ] || ln -s iptables-nft "$fresh/usr/sbin/iptables"
    # Another run may have been faster; both are the same.
    mv -T "$fresh" "$folder" 2>/dev/null || rm -rf "$fresh"
  fi
  # shellcheck disable=SC2034 # read by scripts/docker.sh
  SOS_DOCKER="$folder"
}

download_docker() {
  apt-get download -qq docker.io busybox-static && download_with_missing docker.io
}

# nginx beside the gateway, for tests and `cargo xtask bench gateway`, taken as the broker above is.
ensure_nginx() {
  local folder="$SOS_TOOLS/nginx" found
  if found="$(PATH="$PATH:/usr/sbin" command -v nginx)"; then
    SOS_NGINX="$found"
  else
    if [ ! -x "$folder/usr/sbin/nginx" ]; then
      say "taking the server from Debian's package nginx into $folder"
      mkdir -p "$folder"
      # In a subshell: where there is none, the tests that need it say so.
      (cd "$folder" && { download_with_missing nginx || { as_root apt-get update -qq && download_with_missing nginx; }; } &&
        for package in *.deb; do dpkg-deb --extract "$package" . || exit 1; done && rm -f ./*.deb) >&2 || return 0
    fi
    SOS_NGINX="$folder/usr/sbin/nginx"
  fi
  export SOS_NGINX
}

# download_with_missing PACKAGE…: fetches them and what they need and this machine lacks, into this folder.
download_with_missing() {
  local packages
  packages="$(apt-get install --simulate --no-install-recommends -qq "$@" | awk '$1 == "Inst" { print $2 }')"
  [ -n "$packages" ] || return 1
  # shellcheck disable=SC2086 # one word for each package
  apt-get download -qq $packages
}

# A real Kubernetes for the tests of services: built from its Go modules on a new machine (10 to 25 minutes on two cores, once),
# with the files of Debian's containerd, runc and Docker. Where there is none, the tests that need it say why.
ensure_kubernetes() {
  say "looking for Kubernetes (scripts/kubernetes.sh)"
  scripts/kubernetes.sh node >/dev/null || say "no Kubernetes with a node; the tests that need one will say so"
}

# A browser without a screen, for the tests of the page.
ensure_browser() {
  [ -f web/package.json ] || return 0
  find_browser && return 0
  # In a subshell: where the distribution has none, everything else is still tested.
  (ensure_packages chromium) || true
  find_browser || say "no Chromium that runs was found; the tests that need one will say so"
}

find_browser() {
  local name
  for name in chromium chromium-browser google-chrome; do
    # Ubuntu's chromium-browser may be a stub that asks for snap; a stub cannot say its version.
    if "$name" --version >/dev/null 2>&1; then
      SOS_CHROMIUM="$(command -v "$name")"
      export SOS_CHROMIUM
      return 0
    fi
  done
  return 1
}

# cargo-deny takes minutes to build, so it is built once and kept.
CARGO_DENY=0.20.2
ensure_cargo_deny() {
  local folder="$SOS_TOOLS/cargo-deny-$CARGO_DENY"
  PATH="$folder/bin:$PATH"
  export PATH
  [ -x "$folder/bin/cargo-deny" ] && return 0
  say "building cargo-deny $CARGO_DENY into $folder (some minutes, once)"
  # Outside the checkout: its .cargo/config.toml and toolchain are not meant for tools.
  CARGO_TARGET_DIR="$folder/build" cargo install cargo-deny --version "$CARGO_DENY" --locked --root "$folder" >&2 ||
    die "cargo could not install cargo-deny $CARGO_DENY"
  rm -rf "$folder/build"
}
