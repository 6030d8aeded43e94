#!/usr/bin/env bash
# What injection adds to the start of an app: 20 interleaved pairs on the local cluster, both
# distributions and the added time's. Usage: deploy/bench/podstart.sh
#
# It is the suite's own test of that, alone and with its figures shown.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
export KUBECONFIG=${XDG_STATE_HOME:-$HOME/.local/state}/mbcas/local/admin.kubeconfig

deploy/prerequisites.sh cluster
deploy/local/cluster up
deploy/images.sh
helm=$(deploy/local/cluster path helm)
# The test installs the release if it is not there, and then it goes again.
"$helm" status mbcas --namespace mbcas-system >/dev/null 2>&1 ||
  trap '"$helm" uninstall mbcas --namespace mbcas-system --ignore-not-found --wait >/dev/null' EXIT
MBCAS_TEST_KUBECONFIG=$KUBECONFIG deploy/local/cluster alone \
  cargo test --locked -p mbcas-tests --features cluster --test cluster -- \
  --test-threads=1 --exact delay::injection_adds_at_most_half_a_second_to_a_start
