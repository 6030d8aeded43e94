# shellcheck shell=bash
# bench_on_cluster FEATURE WORD...: those tests of the cluster suite that the words name, on the local
# cluster, which is started if needed, with their figures shown. Sourced by the scripts beside it.
bench_on_cluster() {
  deploy/prerequisites.sh cluster
  deploy/local/cluster up
  deploy/images.sh
  deploy/suite.sh "$@"
}
