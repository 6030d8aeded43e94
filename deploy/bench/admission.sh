#!/usr/bin/env bash
# Loads mbcas-webhook and its twin, a webhook written with controller-runtime, over loopback with
# TLS 1.3 and HTTP/2, in turns, and prints medians and ratios. Usage: deploy/bench/admission.sh
#
# The server has core 0 and the load core 1. What is sent is one review of 5.8 kB that is answered
# with a patch; what is measured is docs/benchmarks/admission.md's table. Writes nothing here.
#   MBCAS_BENCH_ROUNDS   how many turns each of them gets (5)
#   MBCAS_BENCH_SECONDS  how long each phase of a turn lasts (5)
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
rounds=${MBCAS_BENCH_ROUNDS:-5}
seconds=${MBCAS_BENCH_SECONDS:-5}
review=webhook/benches/review.json
# shellcheck source=deploy/bench/binary.sh
. deploy/bench/binary.sh
servers=(ours twin)
declare -A port=([ours]=19443 [twin]=19444) pid=()

say() { printf '[%4ds] bench: %s\n' "$SECONDS" "$*" >&2; }
fail() { printf 'bench: %s\n' "$@" >&2; exit 1; }

[ "$(nproc)" -ge 2 ] || fail "two cores are needed: one for the server, one for the load."

work=$(mktemp -d)
stop() {
  local server
  for server in "${!pid[@]}"; do
    kill "${pid[$server]}" 2>/dev/null || true
  done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT

build() {
  say "building ours (cold, 2 cores: 6 min)"
  bin_ours=$(bench_binary server)
  bin_handler=$(bench_binary handler)
  say "building the twin (cold, 2 cores: 3 min)"
  (cd tests/twin && go build -trimpath -o "$work/twin" .)
}

start() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=twin \
    -addext subjectAltName=DNS:localhost -keyout "$work/tls.key" -out "$work/tls.crt" 2>/dev/null
  taskset -c 0 "$bin_ours" "127.0.0.1:${port[ours]}" >"$work/ours.log" 2>&1 &
  pid[ours]=$!
  taskset -c 0 "$work/twin" -port "${port[twin]}" -certificates "$work" >"$work/twin.log" 2>&1 &
  pid[twin]=$!
  local server
  for server in "${servers[@]}"; do
    for _ in $(seq 100); do
      answer "$server" >"$work/$server.json" 2>/dev/null && continue 2
      sleep 0.1
    done
    cat "$work/$server.log" >&2
    fail "$server does not answer."
  done
}

url() { printf 'https://127.0.0.1:%s/inject?timeout=2s' "${port[$1]}"; }

answer() {
  curl --silent --fail --insecure --http2 --header 'content-type: application/json' --data-binary "@$review" "$(url "$1")"
}

# same_work: both make the same sidecar, volume, limit and annotations of the same review.
same_work() {
  local server
  for server in "${servers[@]}"; do
    jq -S '.response.patch | @base64d | fromjson
      | map(.value) | [.. | objects | select(.name? == "mbcas-demand-agent" or .name? == "mbcas-no-token")]
      | map(del(.volumeMounts, .env)) | sort' "$work/$server.json" >"$work/$server.work"
    jq -e '.response.patch | @base64d | fromjson | tostring
      | contains("mbcas.dev/original") or contains("mbcas.dev~1original")' "$work/$server.json" >/dev/null ||
      fail "$server does not record the original."
  done
  diff "$work/ours.work" "$work/twin.work" >&2 || fail "they do not inject the same."
}

# ticks SERVER: what CPU time it has used, in hundredths of a second.
ticks() { awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/${pid[$1]}/stat"; }

memory() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/${pid[$1]}/status"; }

load() { taskset -c 1 h2load --threads=1 --data="$review" --header='content-type: application/json' "$@"; }

# succeeded FILE: how many requests of a run were answered with 2xx; any other is the end.
succeeded() {
  if ! grep -q 'Application protocol: h2' "$1" || ! grep -q 'TLS Protocol: TLSv1.3' "$1"; then
    cat "$1" >&2
    fail "not TLS 1.3 and h2."
  fi
  awk '/^requests:/ { total = $2 } /^status codes:/ { good = $3 }
    END { if (good == 0) exit 1; print good }' "$1" ||
    { cat "$1" >&2; fail "nothing was answered."; }
}

# full SERVER: as fast as it can, on 1 connection with 16 streams. Reviews/s and CPU per review.
full() {
  local before after good
  before=$(ticks "$1")
  load --duration="$seconds" --clients=1 --max-concurrent-streams=16 "$(url "$1")" >"$work/run"
  after=$(ticks "$1")
  good=$(succeeded "$work/run")
  awk -v good="$good" -v ticks=$((after - before)) -v seconds="$seconds" -v hertz="$(getconf CLK_TCK)" -v server="$1" \
    'BEGIN { printf "%s rate %.0f\n%s cpu %.2f\n", server, good / seconds, server, ticks * 1e6 / hertz / good }'
}

# handler: a review from bytes in to bytes out, without a network, on the core that the servers have.
handler() { taskset -c 0 "$bin_handler" | sed -n 's/^handler: \([0-9.]*\) us.*/ours handler \1/p'; }

# log_figures SERVER PREFIX: percentiles in us, and the rate, of the requests in $work/log, which have to be good.
log_figures() {
  awk '$2 != 200 { bad++ } END { exit bad > 0 }' "$work/log" || fail "$1 refused requests at 1,000/s."
  cut -f 3 "$work/log" | sort -n | awk -v name="$1 $2" '{ took[NR] = $1 }
    function at(share) { i = int(NR * share); return took[i < NR * share ? i + 1 : i] }
    END { printf "%sp50 %d\n%sp99 %d\n%sp999 %d\n", name, at(0.5), name, at(0.99), name, at(0.999) }'
  cut -f 1 "$work/log" | sort -n | awk -v name="$1 $2" 'NR == 1 { first = $1 } { last = $1 }
    END { printf "%srate %.0f\n", name, (NR - 1) * 1e6 / (last - first) }'
  rm -f "$work"/log*
}

# steady SERVER: two connections, as two API servers have, each asks some 500 times a second at
# moments that do not depend on answers or on each other (a Poisson process). h2load's own timer
# adds most of a millisecond to each pause, so that 1.35 are asked for to get 2.
steady() {
  local client clients=()
  for client in 1 2; do
    awk -v seed="$client" -v requests=$((seconds * 500)) -v url="$(url "$1")" 'BEGIN {
      srand(seed)
      at = 100
      for (i = 0; i < requests; i++) { at -= 1.35 * log(1 - rand()); printf "%.3f\t%s\n", at, url }
    }' >"$work/times$client"
    load --clients=1 --max-concurrent-streams=100 --timing-script-file="$work/times$client" \
      --log-file="$work/log$client" >"$work/run$client" 2>&1 &
    clients+=($!)
  done
  wait "${clients[@]}"
  for client in 1 2; do succeeded "$work/run$client" >/dev/null; done
  cat "$work/log1" "$work/log2" >"$work/log"
  log_figures "$1" steady_
}

# tens SERVER: ten at once on one connection, a hundred times a second: how h2load paces --rps.
tens() {
  load --duration="$seconds" --clients=1 --max-concurrent-streams=100 --rps=1000 --log-file="$work/log" "$(url "$1")" >"$work/run"
  succeeded "$work/run" >/dev/null
  log_figures "$1" tens_
}

# burst SERVER: 5,000 at once. How many were answered, and seconds until the last answer.
burst() {
  local good
  load --requests=5000 --clients=50 --max-concurrent-streams=100 "$(url "$1")" >"$work/run"
  good=$(succeeded "$work/run")
  [ "$1" != ours ] || [ "$good" = 5000 ] || fail "ours answered $good of 5,000."
  printf '%s whole %s\n' "$1" "$good"
  sed -n 's/^finished in \([0-9.]*\)\(m\?s\), .*/\1 \2/p' "$work/run" |
    awk -v server="$1" '{ printf "%s burst %.0f\n", server, $2 == "s" ? $1 * 1000 : $1 }'
}

# median SERVER FIGURE
median() {
  awk -v server="$1" -v figure="$2" '$1 == server && $2 == figure { print $3 }' "$work/figures" | sort -n |
    awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

row() {
  local ours twin
  ours=$(median ours "$2")
  twin=$(median twin "$2")
  awk -v text="$1" -v ours="$ours" -v twin="$twin" -v how="$3" \
    'BEGIN { printf "%-42s %12s %12s %9.1f\n", text, ours, twin, how == "more" ? ours / twin : twin / ours }'
}

deploy/prerequisites.sh bench
build
start
same_work
say "each is loaded $rounds times in turns ($((rounds * 2 * (3 * seconds + 3))) s)"
for server in "${servers[@]}"; do
  full "$server" >/dev/null
  steady "$server" >/dev/null
  printf '%s rss_before %s\n' "$server" "$(memory "$server" VmRSS)" >>"$work/figures"
done
for _ in $(seq "$rounds"); do
  for server in "${servers[@]}"; do
    { full "$server"; steady "$server"; tens "$server"; burst "$server"; } >>"$work/figures"
  done
  handler >>"$work/figures"
done
for server in "${servers[@]}"; do
  printf '%s rss %s\n' "$server" "$(memory "$server" VmRSS)"
done >>"$work/figures"

printf '%-42s %12s %12s %9s\n' "medians of $rounds rounds" ours twin ratio
row "reviews/s, one core, 1 connection x 16" rate more
row "CPU per review, us" cpu less
printf '%-42s %12s\n' "of that, bytes in to bytes out, us" "$(median ours handler)"
row "steady load: reviews/s" steady_rate more
row "steady load: p50, us" steady_p50 less
row "steady load: p99, us" steady_p99 less
row "steady load: p99.9, us" steady_p999 less
row "ten at once, 100 times/s: p50, us" tens_p50 less
row "ten at once, 100 times/s: p99, us" tens_p99 less
row "5,000 at once: answered" whole more
row "5,000 at once, ms" burst less
row "resident before the first burst, kB" rss_before less
row "resident after the last, kB" rss less
if [ "${MBCAS_BENCH_FIGURES:-}" ]; then cat "$work/figures"; fi

# What the targets were set on; what else this machine does, and its clock, are in both figures.
awk -v ours="$(median ours handler)" -v twin="$(median twin cpu)" 'BEGIN {
  printf "a machine on which the twin takes 790 us would take %.1f us from bytes in to bytes out\n", ours * 790 / twin }'
