#!/usr/bin/env bash
# Checks what a purpose needs, names everything that is missing in one message with the one command
# that installs it, and as root on Debian or Ubuntu installs it itself.
# Usage: deploy/prerequisites.sh [demo|test|check|chart|cluster|bench|release|unit]  (default: test, all but the bench's)
#
# Five tools come into $XDG_CACHE_HOME/mbcas, not into the system: cargo-deny, and cargo-cyclonedx, which
# knows the crates of a release, built by cargo; Prometheus and promtool, which the suite asks the dashboard's
# queries and the alerts, and prometheus-node-exporter, beside which the agent is measured: unpacked from
# Debian's packages, because to install these would start servers; and the Python package with the schemas of
# every Kubernetes that the chart is for, in an environment of its own.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
purpose=${1:-test}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/mbcas
export PATH=$tools/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin
cargo_deny_version=0.20.2
cargo_cyclonedx_version=0.5.9
go_minimum=1.26.6
schemas_version=1.37.0
schemas=$tools/kubernetes-validate-$schemas_version

packages=()  # of Debian and Ubuntu
by_hand=()   # what no package gives: one line each, with where to get it
extras=()    # what install_extras builds or unpacks

say() { printf '%s\n' "$*" >&2; }

has() { [ -x "$(command -v "$1")" ]; }

# need COMMAND PACKAGE: the package unless the command is there, from wherever it came.
need() { has "$1" || packages+=("$2"); }

need_rust() {
  has cargo && has rustc || by_hand+=("Rust: https://rustup.rs (the version comes from rust-toolchain.toml)")
  # aws-lc-rs compiles C, and a static binary needs the static C library.
  has cc || packages+=(gcc libc6-dev)
  need git git
}

# need_go [SET...]: only to build; a full cache does without.
need_go() {
  [ -n "$("$here/local/cluster" missing "$@")" ] || return 0
  local found
  if ! has go; then
    by_hand+=("Go $go_minimum or newer: https://go.dev/dl")
    return
  fi
  found=$(GOTOOLCHAIN=local go env GOVERSION)
  found=${found#go}
  if [ "$(printf '%s\n' "$go_minimum" "${found%%[- ]*}" | sort -V | head -n 1)" != "$go_minimum" ]; then
    by_hand+=("Go $go_minimum or newer, found $found: https://go.dev/dl")
  fi
}

# need_engine: what builds images. A docker command without its daemon is of no use.
need_engine() {
  has buildah || has podman || { has docker && docker info >/dev/null 2>&1; } || packages+=(buildah)
}

need_cluster() {
  if [ "$(uname -s)" != Linux ]; then
    by_hand+=("Linux: the local cluster runs nowhere else (\`make test-unit\` runs anywhere)")
    return
  fi
  if [ "$(id -u)" != 0 ]; then
    by_hand+=("root: sudo -E env PATH=\"\$PATH\" HOME=\"\$HOME\" make $purpose (\`make test-unit\` does without)")
  fi
  need_go
  need_engine
  # A runc that is there is used: installing Debian's would remove Docker's containerd.io.
  need runc runc
  [ -x /usr/lib/cni/ptp ] || [ -x /opt/cni/bin/ptp ] || [ -x /usr/libexec/cni/ptp ] ||
    packages+=(containernetworking-plugins)
  need iptables iptables
  need conntrack conntrack
  need ip iproute2
  need openssl openssl
  need nsenter util-linux
  need jq jq
  need curl curl
}

# need_instructions: what counts the instructions of a review.
need_instructions() {
  need valgrind valgrind
  need jq jq
}

# need_bench: the load, what builds the twin that is loaded beside the webhook, what the agent is measured
# beside, and what watches which of its functions run.
need_bench() {
  has prometheus-node-exporter || extras+=(node-exporter)
  has go || by_hand+=("Go $go_minimum or newer: https://go.dev/dl")
  need h2load nghttp2-client
  need taskset util-linux
  need unshare util-linux
  need ip iproute2
  need valgrind valgrind
  need nm binutils
  need python3 python3
  need openssl openssl
  need jq jq
  need curl curl
}

need_checks() {
  need shellcheck shellcheck
  if ! has cargo-deny; then extras+=(cargo-deny); fi
}

# need_release: what signs, what checks, and what names the crates in the images.
need_release() {
  need_go helm
  need_engine
  need gpg gpg
  need gpg-agent gpg-agent
  need gpgv gpgv
  need jq jq
  if ! has cargo-cyclonedx; then extras+=(cargo-cyclonedx); fi
}

need_prometheus() {
  if ! has prometheus || ! has promtool; then extras+=(prometheus); fi
}

need_chart() {
  need_go helm helm3
  need jq jq
  need_prometheus
  [ ! -x "$schemas/bin/python" ] || return 0
  extras+=(schemas)
  has python3 && python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
}

is_debian() { has apt-get && has dpkg-deb; }

# install_packages: --no-remove, because a machine's own software comes first.
install_packages() {
  say "installing: ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends --no-remove "${packages[@]}" >&2
}

install_extras() {
  local extra
  for extra in "${extras[@]}"; do
    case $extra in
      cargo-deny)
        say "building cargo-deny $cargo_deny_version into $tools/bin (once; about 6 min on 2 cores)"
        cargo install --quiet --locked cargo-deny --version "$cargo_deny_version" --root "$tools"
        ;;
      cargo-cyclonedx)
        say "building cargo-cyclonedx $cargo_cyclonedx_version into $tools/bin (once; about 2 min on 2 cores)"
        cargo install --quiet --locked cargo-cyclonedx --version "$cargo_cyclonedx_version" --root "$tools"
        ;;
      prometheus)
        unpack prometheus prometheus promtool
        ;;
      node-exporter)
        unpack prometheus-node-exporter prometheus-node-exporter
        ;;
      schemas)
        say "fetching kubernetes-validate $schemas_version into $schemas (25 MB, once)"
        rm -rf "$schemas.partial"
        python3 -m venv "$schemas.partial"
        "$schemas.partial/bin/python" -m pip install --quiet --disable-pip-version-check "kubernetes-validate==$schemas_version"
        mv "$schemas.partial" "$schemas"
        ;;
    esac
  done
}

# unpack PACKAGE PROGRAM...: programs of a package of Debian's that is not installed.
unpack() {
  local package=$1 work
  shift
  if ! is_debian; then
    say "$* is missing (https://prometheus.io/download): put it on the PATH."
    exit 1
  fi
  say "unpacking $* into $tools/bin (once)"
  work=$(mktemp -d)
  (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$package" >&2 && dpkg-deb -x "${package}"_*.deb tree)
  install -D -m 0755 -t "$tools/bin" "${@/#/$work/tree/usr/bin/}"
  rm -rf "$work"
}

# report: the one message.
report() {
  say "Missing on this machine (for: $purpose):"
  local line
  while read -r line; do
    say "  - $line"
  done < <(printf '%s\n' ${by_hand[@]+"${by_hand[@]}"} | sed '/^$/d' | sort -u)
  if [ "${#packages[@]}" != 0 ]; then
    if is_debian; then
      say "  - packages. This installs them:"
      say "      sudo apt-get update && sudo apt-get install --no-install-recommends --no-remove ${packages[*]}"
    else
      say "  - by Debian's names: ${packages[*]} (install your distribution's equivalents)"
    fi
  fi
  exit 1
}

case $purpose in
  demo)
    need_rust
    # On a cluster of the user's own nothing is started here; helm and kubectl are still built.
    if [ -n "${MBCAS_CONTEXT:-}" ]; then need_go; need_engine; else need_cluster; fi
    ;;
  test) need_rust; need_cluster; need_go cert-manager; need_checks; need_chart; need_instructions; need_release; need python3 python3 ;;
  check) need_rust; need_checks ;;
  chart) need_rust; need_chart ;;
  cluster) need_rust; need_cluster ;;
  bench) need_rust; need_bench ;;
  release) need_rust; need_release ;;
  unit) need_rust ;;
  *) sed -n '4p' "${BASH_SOURCE[0]}" | cut -c 3- >&2; exit 2 ;;
esac

if [ "${#by_hand[@]}" != 0 ]; then
  report
fi
if [ "${#packages[@]}" != 0 ]; then
  if [ "$(id -u)" = 0 ] && is_debian; then install_packages; else report; fi
fi
install_extras
