#!/usr/bin/env bash
# What becomes of a load step, a ramp, a burst train and silence, of a service with an agent, without one, and
# with one that lies: figures, and the pictures of docs/benchmarks/demand.md. Usage: deploy/bench/demand.sh
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
  cargo test --locked -p mbcas-tests --features show --test cluster -- --test-threads=1 show::
