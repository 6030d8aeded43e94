#!/usr/bin/env bash
# Everything that can be checked without running MBCAS. Usage: deploy/check.sh
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export PATH=${XDG_CACHE_HOME:-$HOME/.cache}/mbcas/bin:$PATH

# step TEXT COMMAND...: says what, runs it, and stops at the first failure.
step() {
  printf '[%4ds] check: %s\n' "$SECONDS" "$1" >&2
  shift
  "$@"
}

# Together, the crates lend each other features of their dependencies; alone, each must have named
# what it uses.
each_crate_alone() {
  local crate
  for crate in $(cargo metadata --locked --no-deps --format-version 1 | jq -r '.packages[].name'); do
    cargo check --locked --quiet -p "$crate" || { echo "check: $crate does not compile alone" >&2; return 1; }
  done
}

scripts() {
  {
    find deploy .ci -name '*.sh'
    grep -rlE '^#!.*\b(ba)?sh$' deploy .ci
  } | sort -u
}

check_scripts() {
  local found
  mapfile -t found < <(scripts)
  shellcheck --external-sources "${found[@]}"
}

docs() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --workspace --no-deps; }

step "scripts (shellcheck)" check_scripts
step "formatting" cargo fmt --all --check
step "lints (cold on 2 cores: 4 min)" \
  cargo clippy --locked --quiet --workspace --all-targets -- -D warnings
step "lints of the chart's tests and the cluster suite" \
  cargo clippy --locked --quiet -p mbcas-tests --all-targets --features chart,show -- -D warnings
step "every crate alone (cold on 2 cores: 3 min)" each_crate_alone
step "documentation" docs
step "bans, licences, sources (cargo-deny)" \
  cargo deny --locked --config .deny.toml check --hide-inclusion-graph bans licenses sources
printf '[%4ds] check: all good\n' "$SECONDS" >&2
