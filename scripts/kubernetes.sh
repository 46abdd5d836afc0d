#!/usr/bin/env bash
# Prints the folder of a real Kubernetes for the tests, built once from the Go modules that scripts/kubernetes pins, outside
# the checkout. Exit 77 with the reason on stderr when it cannot be had.
#   scripts/kubernetes.sh         bin/: kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kubectl, kube-proxy,
#                                 etcd, kwok, metrics-server
#   scripts/kubernetes.sh node    also debian/: containerd, runc, dockerd, network plugins, conntrack, iptables, a static
#                                 busybox, each only where this machine has none; and looks whether a node may run here
#   scripts/kubernetes.sh docker  only debian/, and whether containers may run here
# The first build takes 10 to 25 minutes on two cores, needs 5 GB meanwhile and leaves 0.7 GB; after that this costs nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/lib.sh
. ./lib.sh

VERSION="$(awk '$2 == "k8s.io/kubernetes" && $1 == "require" { print substr($3, 2) }' kubernetes/go.mod)"
NODE_PACKAGES=(docker.io containerd runc containernetworking-plugins conntrack iptables busybox-static)

missing() {
  printf '%s\n' "$*" >&2
  exit 77
}

build() {
  local go flags='-s -w' package fresh="$1"
  go="$(PATH="$PATH:/usr/local/go/bin" command -v go)" || missing 'go is not installed, so Kubernetes cannot be built'
  # Version 1.26 is what the modules ask for; an older go says so itself.
  export GOPATH="$fresh/go" GOCACHE="$fresh/cache" GOFLAGS='-mod=readonly -modcacherw -trimpath -buildvcs=false'
  export CGO_ENABLED=0 GOTOOLCHAIN=local GO111MODULE=on
  # Clients refuse the version of a build that was not told which it is.
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=v$VERSION"
    flags+=" -X $package.gitMajor=${VERSION%%.*} -X $package.gitMinor=$(cut -d. -f2 <<<"$VERSION")"
  done
  mkdir -p "$fresh/bin"
  build_programs "$go" "$flags" "$fresh/bin" 2> >(grep -v '^go: downloading' >&2)
}

# Other programs of a busy machine go first.
build_programs() {
  nice -n 15 "$1" -C kubernetes build -ldflags "$2" -o "$3/" \
    k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kubectl,kube-proxy} >&2 &&
    nice -n 15 "$1" -C kubernetes/extra build -ldflags '-s -w' -o "$3/etcd" go.etcd.io/etcd/server/v3 >&2 &&
    nice -n 15 "$1" -C kubernetes/extra build -ldflags '-s -w' -o "$3/" \
      sigs.k8s.io/kwok/cmd/kwok sigs.k8s.io/metrics-server/cmd/metrics-server >&2
}

# As with the broker in lib.sh only files are taken: installed, the packages would start daemons on this machine.
take_packages() {
  local into="$1" package
  mkdir -p "$into"
  (cd "$into" &&
    { download_with_missing "${NODE_PACKAGES[@]}" ||
      { as_root apt-get update -qq && download_with_missing "${NODE_PACKAGES[@]}"; }; } &&
    for package in *.deb; do dpkg-deb --extract "$package" . || exit 1; done && rm -f ./*.deb) >&2 || return 1
  # Where they are and what they are called is decided by scripts of the package.
  if [ -x "$into/usr/sbin/xtables-legacy-multi" ] || [ -x "$into/usr/sbin/xtables-nft-multi" ]; then
    local kind=nft name
    # The older interface is asked for only where the kernel has no other.
    iptables_works "$into" nft || kind=legacy
    for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
      ln -sf "xtables-$kind-multi" "$into/usr/sbin/$name"
    done
  fi
}

iptables_works() {
  LD_LIBRARY_PATH="$1/usr/lib/$(uname -m)-linux-gnu" XTABLES_LIBDIR="$1/usr/lib/$(uname -m)-linux-gnu/xtables" \
    unshare --net "$1/usr/sbin/xtables-$2-multi" iptables -t nat -L -n >/dev/null 2>&1
}

have_packages() {
  local package
  for package in "${NODE_PACKAGES[@]}"; do has_package "$package" || return 1; done
}

# What a node does on this machine, tried in namespaces of its own.
check_privileges() {
  [ "$(id -u)" -eq 0 ] || missing 'containers need root'
  unshare --mount --net --pid --fork --ipc true 2>/dev/null || missing 'this machine allows no namespaces of its own'
  unshare --mount mount -t tmpfs none /mnt 2>/dev/null || missing 'this machine allows no mounts'
  unshare --net ip link add name sos0 type bridge 2>/dev/null || missing 'this machine allows no network bridges'
  local group
  for group in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    [ -e "$group/cgroup.procs" ] || continue
    { mkdir "$group/sos-probe-$$" && rmdir "$group/sos-probe-$$"; } 2>/dev/null && return 0
  done
  missing 'this machine lets no control group be made'
}

# keep NAME FOLDER COMMAND…: makes a folder with the command, unless there is one.
keep() {
  local name="$1" folder="$2" fresh
  shift 2
  [ -d "$folder" ] && return 0
  mkdir -p "$SOS_TOOLS"
  # Tests that run at once ask at once: one builds, the others wait.
  exec 9>"$SOS_TOOLS/.kubernetes.lock"
  flock 9
  [ -d "$folder" ] && return 0
  fresh="$(mktemp -d "$folder.XXXXXX")"
  # Modules are written read-only by some versions of go.
  # shellcheck disable=SC2064 # this very folder
  trap "chmod -R u+w '$fresh' 2>/dev/null || true; rm -rf '$fresh'" EXIT
  say "$name into $folder (once)"
  "$@" "$fresh" || missing "$name failed; what it said is above"
  rm -rf "$fresh/go" "$fresh/cache"
  # Another run may have been faster; both are the same.
  mv -T "$fresh" "$folder" 2>/dev/null || [ -d "$folder" ]
  exec 9>&-
}

what="${1:-}"
case "$what" in '' | node | docker) ;; *) die "usage: scripts/kubernetes.sh [node|docker]" ;; esac
wanted="$(cat kubernetes/go.mod kubernetes/go.sum kubernetes/extra/go.mod kubernetes/extra/go.sum | sha256sum | cut -c1-12)"
folder="$SOS_TOOLS/kubernetes-$VERSION-$wanted"
debian="$SOS_TOOLS/containers-debian"
if [ "$what" != docker ]; then keep "building Kubernetes $VERSION, 10 to 25 minutes," "$folder" build; fi
if [ -n "$what" ]; then
  check_privileges
  if ! have_packages; then
    command -v apt-get >/dev/null || missing "this is no Debian or Ubuntu; install ${NODE_PACKAGES[*]}"
    keep "taking the files of ${NODE_PACKAGES[*]}" "$debian" take_packages
  fi
fi
# Two lines: the programs of Kubernetes, and the root of what Debian's packages hold.
if [ "$what" != docker ]; then printf '%s\n' "$folder"; fi
if [ -n "$what" ]; then if have_packages; then echo /; else printf '%s\n' "$debian"; fi; fi
