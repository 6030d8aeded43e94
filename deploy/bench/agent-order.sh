#!/usr/bin/env bash
# Writes src/agent/order.txt: the functions that a demand agent runs, which build.rs lays side by side.
# Usage: deploy/bench/agent-order.sh
#
# Watches a static agent under callgrind while it starts, looks, is asked for each of its pages and ends, and
# two others that ask an application besides: what only those run comes last, as most agents have none to ask. Worth
# doing after larger changes to the agent or its dependencies: a name that is missing costs at most one fault
# more, sixteen pages, and `make bench-agent` shows what all of them cost together.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
triple=$(rustc -vV | sed -n 's/^host: //p')
list=src/agent/order.txt

deploy/prerequisites.sh bench
seen=$(mktemp)
agent=
text=
json=
app=
pages=
clean() {
  local process
  for process in $agent $text $json $app $pages; do kill "$process" 2>/dev/null || true; done
  rm -f "$seen" "$seen.text" "$seen.json" "$seen.names"
}
trap clean EXIT

printf '[%4ds] order: building the agent with its names (2 cores: 2 min)\n' "$SECONDS" >&2
RUSTFLAGS="-C target-feature=+crt-static -C strip=none" \
  cargo build --locked --quiet --target "$triple" --target-dir target/order --profile agent \
  -p mbcas-agent --bin mbcas-demand-agent
binary=target/order/$triple/agent/mbcas-demand-agent

printf '[%4ds] order: watching it (2 min)\n' "$SECONDS" >&2
port=$((20000 + RANDOM % 10000))
application=http://localhost:$((port + 2))
# What an application says of itself: that ten requests come each second, and now and then some wait.
python3 -c 'import http.server, json, sys, time
begin = time.monotonic()
class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        all = int(10 * (time.monotonic() - begin))
        waits = max(0, all % 300 - 270)
        if self.path == "/json":
            page = json.dumps({"jobs": {"waiting": waits}, "p99": 0.3, "rest": [None, True, "x", -1.5]})
        else:
            bounds = ["0.1", "0.25", "0.5", "1", "+Inf"]
            lines = [f"took_seconds_bucket{{path=\"/\",le=\"{le}\"}} {all}" for le in bounds]
            page = "\n".join(["# TYPE took_seconds histogram", *lines, f"jobs{{shard=\"a\"}} {waits}", ""])
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page.encode())
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Pages).serve_forever()' $((port + 2)) &
pages=$!
# watched FILE PORT SETTING...: runs an agent that is watched into a file. With processes of its own, as in a
# pod, and with the image's settings of the C library.
watched() {
  exec env -i "PATH=$PATH" "$(grep -o 'GLIBC_TUNABLES=.*' deploy/mbcas-demand-agent.Dockerfile)" \
    MBCAS_NAMESPACE=shop MBCAS_POD=web-1 MBCAS_CONTAINER=app "MBCAS_AGENT_ADDR=127.0.0.1:$2" "${@:3}" \
    unshare --map-root-user --pid --fork --kill-child --mount-proc \
    valgrind --quiet --tool=callgrind --demangle=no --callgrind-out-file="$1" "$binary" >/dev/null 2>&1
}
watched "$seen" "$port" &
agent=$!
watched "$seen.text" $((port + 1)) MBCAS_APP_SLO=250ms \
  "MBCAS_APP_METRICS=$application/metrics#queue=jobs&latency=took_seconds" &
text=$!
watched "$seen.json" $((port + 3)) MBCAS_APP_SLO=250ms \
  "MBCAS_APP_METRICS=$application/json#queue=/jobs/waiting&latency=/p99" &
json=$!
# An application that accepts no connection for a while, so that there is demand to tell of, and none again.
python3 -c 'import socket, time
time.sleep(15)
listening = socket.create_server(("127.0.0.1", 0), backlog=64)
waiting = [socket.create_connection(listening.getsockname()) for _ in range(40)]
time.sleep(15)' &
app=$!
url=http://127.0.0.1:$port
curl --silent --retry 20 --retry-connrefused --retry-delay 1 --output /dev/null "$url/demand"
for _ in $(seq 40); do
  for page in metrics demand 'demand?above=0.9&wait=1' 'demand?above=all' nothing; do
    curl --silent --max-time 5 --output /dev/null "$url/$page"
  done
  # Two on one connection, and one that says that it is the last.
  curl --silent --max-time 5 "$url/demand" "$url/metrics" >/dev/null
  curl --silent --max-time 5 --header 'Connection: close' --output /dev/null "$url/metrics"
  curl --silent --max-time 5 --http1.0 --output /dev/null "$url/metrics"
done
# One that says nothing, until the agent closes it.
timeout 70 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port; cat <&3" || true
wait "$app"
app=
sleep 5
kill "$(pgrep --parent "$agent")" "$(pgrep --parent "$text")" "$(pgrep --parent "$json")"
wait "$agent" "$text" "$json" || true
agent=
text=
json=

# The C library has each of these once for every kind of CPU and takes those of the one it runs on, which
# valgrind's is not; and what it does with the kernel's vDSO valgrind hides.
variants() { nm "$binary" | awk '{ print $NF }' | grep -E '^__(mem|mempc|rawmem|str|strn)[a-z]*_('"$1"')(_|$)'; }
names() { sed -n 's/^c\?fn=([0-9]*) //p' "$@" | sed "s/'[0-9]*\$//" | grep -E '^[A-Za-z_]' | sort -u; }
{
  names "$seen"
  printf '%s\n' _dl_new_object _dl_setup_hash _dl_add_to_namespace_list _dl_lookup_symbol_x do_lookup_x check_match
} >"$seen.names"
variants 'avx512|evex' >>"$seen.names"
names "$seen.text" "$seen.json" >>"$seen.names"
awk '!had[$0]++' "$seen.names" >"$list"
printf '[%4ds] order: %s names in %s\n' "$SECONDS" "$(wc -l <"$list")" "$list" >&2
