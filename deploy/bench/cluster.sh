# shellcheck shell=bash
# bench_on_cluster FEATURE WORD...: those tests of the cluster suite that the words name, on the local
# cluster, which is started if needed, with their figures shown. Sourced by the scripts beside it.
bench_on_cluster() {
  local feature=$1 helm
  shift
  export KUBECONFIG=${XDG_STATE_HOME:-$HOME/.local/state}/mbcas/local/admin.kubeconfig
  deploy/prerequisites.sh cluster
  deploy/local/cluster up
  deploy/images.sh
  helm=$(deploy/local/cluster path helm)
  # The test installs the release if it is not there, and then it goes again.
  if ! "$helm" status mbcas --namespace mbcas-system >/dev/null 2>&1; then
    # shellcheck disable=SC2064 # the path is known now, and is local
    trap "'$helm' uninstall mbcas --namespace mbcas-system --ignore-not-found --wait >/dev/null" EXIT
  fi
  MBCAS_TEST_KUBECONFIG=$KUBECONFIG deploy/local/cluster alone \
    cargo test --locked -p mbcas-tests --features "$feature" --test cluster -- --test-threads=1 "$@"
}
