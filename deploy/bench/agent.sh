#!/usr/bin/env bash
# What the demand agent costs a pod, beside node_exporter on the same machine, in turns: docs/benchmarks/agent.md's
# table. Usage: deploy/bench/agent.sh
#
# The agent is the static binary of the image, in a network of its own where one other socket listens, as in a pod.
# Writes nothing here.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
export PATH=${XDG_CACHE_HOME:-$HOME/.cache}/mbcas/bin:$PATH
triple=$(rustc -vV | sed -n 's/^host: //p')

deploy/prerequisites.sh bench
printf '[%4ds] bench: building the agent and what measures it (cold, 2 cores: 4 min)\n' "$SECONDS" >&2
RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --quiet --target "$triple" --profile agent \
  -p mbcas-agent --bin mbcas-demand-agent
cargo bench --locked --quiet -p mbcas-agent --bench footprint --no-run
MBCAS_BENCH_TUNABLES=$(sed -n 's/^ENV GLIBC_TUNABLES=//p' deploy/mbcas-demand-agent.Dockerfile) \
  unshare --map-root-user --net sh -c 'ip link set lo up && exec "$@"' network \
  cargo bench --locked --offline --quiet -p mbcas-agent --bench footprint -- "$PWD/target/$triple/agent/mbcas-demand-agent" \
  --beside "$(command -v prometheus-node-exporter)"
