#!/usr/bin/env bash
# The cluster suite, on the local cluster, which is up, with images built. Usage: deploy/suite.sh FEATURE [WORD...]
#   FEATURE  cluster, or show: what is drawn in docs/benchmarks too
#   WORD     those tests only whose names have it, and other words for the tests' binary
#
# It leaves nothing behind, also when it is interrupted: no namespace with load in it, and no release that was
# not there before.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export PATH=${XDG_CACHE_HOME:-$HOME/.cache}/mbcas/bin:$PATH
export MBCAS_TEST_KUBECONFIG=${XDG_STATE_HOME:-$HOME/.local/state}/mbcas/local/admin.kubeconfig

# One at a time: this script again, while it has the cluster.
if [ -z "${MBCAS_SUITE_ALONE:-}" ]; then
  exec deploy/local/cluster alone env MBCAS_SUITE_ALONE=yes deploy/suite.sh "$@"
fi

feature=${1:?which feature? Usage: deploy/suite.sh FEATURE [WORD...]}
shift

release() { deploy/local/cluster helm "$1" mbcas --namespace mbcas-system "${@:2}" >/dev/null; }

was_there=yes
if ! why=$(release status 2>&1); then
  case $why in
    *"not found"*) was_there= ;;
    *) printf 'suite: whether MBCAS is installed cannot be seen: %s\n' "$why" >&2 && exit 1 ;;
  esac
fi

clean() {
  deploy/local/cluster kubectl delete namespaces --selector mbcas-test --wait=false >/dev/null || true
  [ -n "$was_there" ] || release uninstall --ignore-not-found --wait
}
trap clean EXIT

cargo test --locked -p mbcas-tests --features "$feature" --test cluster -- --test-threads=1 "$@"
