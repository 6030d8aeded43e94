#!/usr/bin/env bash
# What becomes of a load step, a ramp, a burst train and silence, of a service with an agent, without one, and
# with one that lies: figures, and the pictures of docs/benchmarks/demand.md. Usage: deploy/bench/demand.sh
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/bench/cluster.sh
. deploy/bench/cluster.sh

bench_on_cluster show show::
