#!/usr/bin/env bash
# The tests. Usage: deploy/test.sh all|unit|chart|suite|release|long
#   unit     what runs anywhere
#   chart    the chart as helm 3 and helm 4 render it: no cluster
#   suite    what needs a real cluster: starts the local one if needed, and leaves it up
#   release  a release, made with a key of the moment, verified, and tampered with: no cluster
#   long     the laws of admission and the elections, MBCAS_CASES times each (a million): no cluster
#   all      the checks, then all of these but the last, and the instructions of what is done most often, counted
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export PATH=${XDG_CACHE_HOME:-$HOME/.cache}/mbcas/bin:$PATH

say() { printf '[%4ds] test: %s\n' "$SECONDS" "$*" >&2; }

unit() {
  say "unit tests (cold on 2 cores: 5 min)"
  cargo test --locked --workspace
}

chart() {
  say "both helms (nothing to do: 1 s; cold, 2 cores: 2 min each)"
  deploy/local/cluster build helm helm3
  say "chart (2 cores: 2 min)"
  cargo test --locked -p mbcas-tests --features chart --test chart
}

long() {
  say "the laws of admission, ${MBCAS_CASES:=1000000} cases of each"
  MBCAS_CASES=$MBCAS_CASES cargo test --locked --release -p mbcas-webhook --lib admit::laws
  say "as many records that lead back to what was"
  MBCAS_CASES=$MBCAS_CASES cargo test --locked --release -p mbcas-actuator --lib restore::tests::a_record
  say "elections, $MBCAS_CASES of them (2 cores: 2 min)"
  MBCAS_CASES=$MBCAS_CASES cargo test --locked --release -p mbcas-controller --lib lease::rule::simulator
}

instructions() {
  say "instructions of a review and of the market (cold on 2 cores: 6 min)"
  deploy/bench/instructions.sh
}

suite() {
  say "local cluster"
  deploy/local/cluster up
  say "images"
  deploy/images.sh
  say "cert-manager, for the suite (nothing to do: 1 s)"
  deploy/local/cluster build cert-manager
  say "cluster suite (2 cores: 35 min)"
  deploy/suite.sh cluster
}

release() {
  say "a release (images built: 15 s)"
  deploy/release-test.sh
}

case ${1:-} in
  all)
    deploy/prerequisites.sh test
    deploy/check.sh
    unit
    chart
    instructions
    suite
    release
    ;;
  chart)
    deploy/prerequisites.sh chart
    chart
    ;;
  long)
    deploy/prerequisites.sh unit
    long
    ;;
  release)
    deploy/prerequisites.sh release
    release
    ;;
  unit)
    deploy/prerequisites.sh unit
    unit
    ;;
  suite)
    deploy/prerequisites.sh test
    suite
    ;;
  *)
    sed -n '2,8s/^# //p' "$0" >&2
    exit 2
    ;;
esac
say "passed"
