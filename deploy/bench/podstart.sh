#!/usr/bin/env bash
# What injection adds to the start of an app: 20 interleaved pairs on the local cluster, both
# distributions and the added time's. Usage: deploy/bench/podstart.sh
#
# It is the suite's own test of that, alone and with its figures shown.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/bench/cluster.sh
. deploy/bench/cluster.sh

bench_on_cluster cluster --exact delay::injection_adds_at_most_half_a_second_to_a_start
