# shellcheck shell=bash disable=SC2154
# The binaries: built from Go modules on first use, and kept outside the checkout so that every
# clone reuses them. One folder per tool set, named by version and by the hash of everything that
# decides its content; it appears under its final name only when it is complete.

tool_sets=(etcd containerd kubernetes helm)
# Not part of the cluster, and built when they are asked for by name: helm 3, because the chart is rendered with
# it too, and cert-manager, which the cluster suite starts.
all_tool_sets=("${tool_sets[@]}" helm3 cert-manager)

# Seconds that a cold build took on 2 cores, one after another: what two of them use is compiled once.
declare -A tool_seconds=([etcd]=70 [containerd]=60 [kubernetes]=500 [helm]=20 [helm3]=10 [cert-manager]=150)

# tool_flags SET: the linker flags. Kubernetes reports its version from them, and refuses nothing
# but prints v0.0.0 without.
tool_flags() {
  local flags="-s -w"
  if [ "$1" = kubernetes ]; then
    local package=k8s.io/component-base/version
    flags+=" -X $package.gitVersion=v$version -X $package.gitMajor=${version%%.*}"
    flags+=" -X $package.gitMinor=$(cut -d. -f2 <<<"$version") -X $package.gitTreeState=clean"
  fi
  printf '%s' "$flags"
}

# tool_module SET: the folder of its go.mod.
tool_module() {
  case $1 in
    cert-manager) printf '%s/tests/cert-manager' "$repo_dir" ;;
    *) printf '%s/%s' "$versions_dir" "$1" ;;
  esac
}

# tool_workspace SET: where it agrees on versions with others. cert-manager has those that it was released with.
tool_workspace() { if [ "$1" = cert-manager ]; then echo off; else echo "$versions_dir/go.work"; fi; }

# tool_sources SET: all that decides what its binaries are, but for the flags.
tool_sources() {
  case $1 in
    cert-manager) cat "$(tool_module "$1")/"{go.mod,go.sum,main.go} ;;
    *) cat "$versions_dir/"go.work* "$versions_dir/"*/go.mod "$versions_dir/"*/go.sum ;;
  esac
}

# tool_dir SET: where its binaries are, or will be. Part of the name of a process's executable.
tool_dir() {
  local key
  key=$({ tool_sources "$1"; tool_flags "$1"; } | sha256sum)
  printf '%s/%s/%s-%s' "$cache_dir" "$version" "$1" "${key:0:12}"
}

# tool NAME: the path of one binary as this machine sees it.
tool() {
  case $1 in
    etcd) printf '%s/etcd' "$(tool_dir etcd)" ;;
    containerd | containerd-shim-runc-v2 | ctr) printf '%s/%s' "$(tool_dir containerd)" "$1" ;;
    helm | helm3) printf '%s/helm' "$(tool_dir "$1")" ;;
    cert-manager) printf '%s/cert-manager' "$(tool_dir cert-manager)" ;;
    *) printf '%s/%s' "$(tool_dir kubernetes)" "$1" ;;
  esac
}

# node_tool NAME: the same binary as the node sees it.
node_tool() {
  local path
  path=$(tool "$1")
  printf '%s%s' "$node_cache" "${path#"$cache_dir"}"
}

# missing_tool_sets [SET...]: those that still have to be built, one a line; of the cluster's where none is named.
missing_tool_sets() {
  local set sets=("$@")
  [ $# != 0 ] || sets=("${tool_sets[@]}")
  for set in "${sets[@]}"; do
    [[ " ${all_tool_sets[*]} " == *" $set "* ]] || fail "there is no set of binaries '$set' (${all_tool_sets[*]})."
    [ -d "$(tool_dir "$set")" ] || printf '%s\n' "$set"
  done
}

# require_go: the compiler, and new enough. GOTOOLCHAIN stays local: a toolchain fetched behind
# the user's back would be a surprise of 200 MB.
require_go() {
  command -v go >/dev/null ||
    fail "Go is not installed, and the cluster's binaries are not in the cache yet." \
      "Install Go 1.26.6 or newer from https://go.dev/dl, then run this again."
  local found
  found=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null)
  found=${found#go}
  if [ "$(printf '%s\n' 1.26.6 "${found%%[- ]*}" | sort -V | head -n 1)" != 1.26.6 ]; then
    fail "Go $found is too old: containerd's module needs 1.26.6 or newer." \
      "Install it from https://go.dev/dl; the one in use is $(command -v go)."
  fi
}

# tool_packages SET: the programs of one set. The word `tool` would stand for all of the workspace's.
tool_packages() { (cd "$(tool_module "$1")" && GOTOOLCHAIN=local go mod edit -json | jq -r '.Tool[].Path'); }

# build_tool_set SET: builds into a folder beside the final one and renames it. An interrupted
# build starts where it stopped: Go's own cache keeps the finished packages.
# Three things save half of the processor time: one set of versions for all (go.work), so that what two
# sets use is compiled once; no debug information, which the linker would drop anyway; and a compiler
# that collects its garbage less often.
build_tool_set() {
  local set=$1 final partial log module workspace total count packages begin=$SECONDS
  final=$(tool_dir "$set")
  module=$(tool_module "$set")
  workspace=$(tool_workspace "$set")
  partial=$final.partial
  log=$cache_dir/build-$set.log
  mkdir -p "$partial"
  say "building $set (about ${tool_seconds[$set]} s on 2 cores when nothing is cached; log: $log)"
  mapfile -t packages < <(tool_packages "$set")
  total=$(cd "$module" && GOWORK=$workspace go list -deps "${packages[@]}" 2>"$log" | wc -l) ||
    { show_log "$log"; fail "the modules of $set could not be read or fetched."; }
  (
    cd "$module" || exit
    exec env CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOTOOLCHAIN=local GOWORK="$workspace" GOBIN="$partial" GOGC=400 \
      go install -v -trimpath -gcflags=all=-dwarf=false -ldflags "$(tool_flags "$set")" "${packages[@]}"
  ) </dev/null >"$log" 2>&1 9>&- &
  builder=$!
  trap 'kill "$builder" 2>/dev/null' EXIT
  while kill -0 "$builder" 2>/dev/null; do
    # Wakes as soon as the build ends, and at least every 15 s to say how far it is.
    timeout 15 tail --pid="$builder" -f /dev/null || true
    count=$(wc -l <"$log")
    kill -0 "$builder" 2>/dev/null &&
      say "building $set: $count of at most $total packages, $((SECONDS - begin)) s"
  done
  trap - EXIT
  wait "$builder" || { show_log "$log"; fail "the build of $set failed."; }
  case $set in
    # Its tool is called after the last part of its module's path.
    etcd) mv "$partial/server" "$partial/etcd" ;;
    # The kinds it is asked for by, as its module has them.
    cert-manager)
      module=$(cd "$module" && GOWORK=off go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)
      install -D -m 0644 -t "$partial/crds" "$module"/deploy/crds/*.yaml
      ;;
  esac
  mv "$partial" "$final"
  say "built $set in $((SECONDS - begin)) s"
}

# ensure_tools [SET...]: whatever is missing is built; says nothing when nothing is.
ensure_tools() {
  local set missing
  missing=$(missing_tool_sets "$@")
  [ -n "$missing" ] || return 0
  require_go
  for set in $missing; do
    build_tool_set "$set"
  done
}
