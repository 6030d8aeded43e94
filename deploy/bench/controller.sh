#!/usr/bin/env bash
# What the controller keeps in memory of a large cluster: docs/benchmarks/controller.md's table.
# Usage: deploy/bench/controller.sh
#
# The controller's own binary, built and set as the image and the chart have it, recommends at an API
# server that makes up its pods as it sends them (src/controller/benches/apiserver). Read from /proc
# are its resident memory and the most that it was in each step. Writes nothing here.
#   MBCAS_BENCH_PODS    how many pods (150000)
#   MBCAS_BENCH_CYCLES  how many whole cycles after the views are measured (0)
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
pods=${MBCAS_BENCH_PODS:-150000}
cycles=${MBCAS_BENCH_CYCLES:-0}
api=127.0.0.1:19445
admin=127.0.0.1:19446
# shellcheck source=deploy/bench/binary.sh
. deploy/bench/binary.sh

say() { printf '[%4ds] bench: %s\n' "$SECONDS" "$*" >&2; }
fail() { printf 'bench: %s\n' "$@" >&2; exit 1; }

work=$(mktemp -d)
running=()
stop() {
  [ "${#running[@]}" = 0 ] || kill "${running[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  running=()
}
trap 'stop; rm -rf "$work"' EXIT

build() {
  local triple
  triple=$(rustc -vV | sed -n 's/^host: //p')
  say "building the controller (cold, 2 cores: 6 min)"
  RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --quiet --target "$triple" \
    -p mbcas-controller --bin mbcas-controller
  controller=target/$triple/release/mbcas-controller
  server=$(bench_binary apiserver mbcas-controller)
  tunables=$(sed -n 's/.*name: GLIBC_TUNABLES, value: "\(.*\)".*/\1/p' chart/templates/controller/deployment.yaml)
  [ -n "$tunables" ] || fail "the chart does not set GLIBC_TUNABLES any more."
}

# start PODS: an API server with so many, and the controller at it.
start() {
  "$server" "$api" "$1" >"$work/server.log" 2>&1 &
  running+=($!)
  cat >"$work/kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: bench, cluster: {server: "http://$api"}}]
users: [{name: bench, user: {}}]
contexts: [{name: bench, context: {cluster: bench, user: bench}}]
current-context: bench
EOF
  until grep -q listening "$work/server.log"; do sleep 0.1; done
  GLIBC_TUNABLES=$tunables KUBECONFIG=$work/kubeconfig "$controller" --mode recommend --kubelet-tls insecure \
    --pod-metrics false --admin-addr "$admin" >"$work/controller.log" 2>&1 &
  pid=$!
  running+=("$pid")
}

ask() { curl --silent --fail --request POST "http://$api/bench/$1"; }

# until_listed TIMES: waits until the pods were listed so often and are watched.
until_listed() {
  until ask state | jq -e --argjson times "$1" '.lists >= $times and .watches >= 1' >/dev/null; do
    kill -0 "$pid" 2>/dev/null || { cat "$work/controller.log" >&2; fail "the controller ended."; }
    sleep 1
  done
  settle
}

# settle: until it uses less than a twentieth of a second of CPU time in a second.
settle() {
  local before=-100 now
  while :; do
    now=$(awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/$pid/stat")
    [ $((now - before)) -ge 5 ] || return 0
    before=$now
    sleep 1
  done
}

# kilobytes KEY
kilobytes() { awk -v key="$1:" '$1 == key { print $2 }' "/proc/$pid/status"; }

# row TEXT: what is resident, and the most that was since the row before.
row() {
  awk -v text="$1" -v now="$(kilobytes VmRSS)" -v most="$(kilobytes VmHWM)" -v anon="$(kilobytes RssAnon)" \
    'BEGIN { printf "%-44s %8.1f %8.1f %8.1f\n", text, now * 1.024e-3, most * 1.024e-3, anon * 1.024e-3 }'
  echo 5 >"/proc/$pid/clear_refs"
}

# cycle NUMBER: waits for the end of the NUMBERth.
cycle() {
  until curl --silent --fail "http://$admin/metrics" |
    awk -v wanted="$1" '/cycle_seconds_count/ { if ($2 >= wanted) found = 1 } END { exit !found }'; do
    kill -0 "$pid" 2>/dev/null || fail "the controller ended."
    sleep 1
  done
}

build
few=$((pods / 10))
start "$few"
until_listed 1
small=$(kilobytes RssAnon)
stop

say "listing $pods pods (2 cores, a server that makes them up: 3 min)"
printf '%-44s %8s %8s %8s\n' "$pods pods, MB" resident most "of it heap"
start "$pods"
until_listed 1
large=$(kilobytes RssAnon)
row "listed"
ask relist >/dev/null
until_listed 2
row "listed again"
ask 'events?10000' >/dev/null
settle
row "after 10,000 events"
awk -v small="$small" -v large="$large" -v pods=$((pods - few)) \
  'BEGIN { printf "%-44s %8.0f\n", "bytes per pod, from a tenth to all of them", (large - small) * 1024 / pods }'
[ "$cycles" = 0 ] || ask lead >/dev/null
for number in $(seq "$cycles"); do
  cycle "$number"
  row "after cycle $number"
done
