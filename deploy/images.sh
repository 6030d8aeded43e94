#!/usr/bin/env bash
# Builds the images from static binaries, and brings them to where the cluster finds them.
# Usage: deploy/images.sh [--no-load] [mbcas|agent|pause]...   (default: mbcas agent)
#
# Prints the full references. Writes target/images/NAME.ref (the reference) and NAME.tar (an archive that `ctr images
# import`, `docker load` and `kind load image-archive` read). The tag is a hash of the content: the
# same code has the same name, and a cluster can never run stale code under a current name.
# MBCAS_REGISTRY=host/path names the images after it and pushes them there. Without MBCAS_CONTEXT
# they are also loaded into the local cluster; with it and no registry they are only built, because
# that cluster is not ours to load into (kind: `kind load image-archive target/images/NAME.tar`).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

out=$PWD/target/images
registry=${MBCAS_REGISTRY:-mbcas.local}
registry=${registry%/}
[[ $registry =~ ^[a-z0-9][a-z0-9._:/-]*$ && $registry != *//* ]] || {
  printf 'images: MBCAS_REGISTRY=%s is no registry: host[:port][/path] in lower case, without a scheme.\n' \
    "$registry" >&2
  exit 2
}
triple=$(rustc -vV | sed -n 's/^host: //p')
started=$SECONDS

say() { printf '[%4ds] %s\n' "$((SECONDS - started))" "$*" >&2; }
fail() { printf 'images: %s\n' "$@" >&2; exit 1; }

# static_cargo ARGS: a release build that needs nothing at run time. The explicit target keeps
# crt-static away from proc-macros, which are libraries and cannot be static.
static_cargo() {
  RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --quiet --target "$triple" "$@"
}

# binaries NAME: builds what image NAME holds; the paths, one a line. What cargo says of each crate that it compiled, or
# had compiled already, stands in NAME.cargo: deploy/release.sh makes the bill of materials of it.
binaries() {
  case $1 in
    mbcas)
      static_cargo --release -p mbcas-webhook -p mbcas-controller -p mbcas -p mbcas-lab \
        --bin mbcas-webhook --bin mbcas-controller --bin mbcas --bin mbcas-lab \
        --message-format=json-render-diagnostics >"$out/mbcas.cargo" || return 1
      printf '%s\n' "target/$triple/release/"{mbcas-webhook,mbcas-controller,mbcas,mbcas-lab}
      ;;
    agent)
      static_cargo --profile agent -p mbcas-agent --bin mbcas-demand-agent \
        --message-format=json-render-diagnostics >"$out/agent.cargo" || return 1
      printf '%s\n' "target/$triple/agent/mbcas-demand-agent"
      ;;
    pause)
      # The compiler alone: cargo would first build everything that the lab depends on.
      mkdir -p "$out/bin"
      rustc --edition 2024 -O -C panic=abort -C strip=symbols -C target-feature=+crt-static \
        --target "$triple" -o "$out/bin/pause" src/lab/src/bin/pause.rs ||
        return 1
      printf '%s\n' "$out/bin/pause"
      ;;
  esac
}

repository() { if [ "$1" = agent ]; then echo mbcas-demand-agent; else echo "$1"; fi; }

# engine: what builds. buildah needs no daemon; docker counts only if its daemon answers.
engine() {
  local found
  for found in buildah podman docker; do
    command -v "$found" >/dev/null || continue
    [ "$found" != docker ] || docker info >/dev/null 2>&1 || continue
    echo "$found"
    return
  done
  fail "no buildah, podman or running docker to build with." "deploy/prerequisites.sh installs buildah."
}

# buildah keeps its images in a folder that is thrown away: nothing of ours is left in the
# machine's own image store. vfs and chroot work without any kernel privilege beyond root. Two
# files it makes elsewhere all the same; they go again where they were not there before.
buildah_traces=()
for trace in /etc/cni/net.d/cni.lock /var/lib/containers/cache/blob-info-cache-v1.boltdb; do
  [ -e "$trace" ] || buildah_traces+=("$trace")
done
clean() {
  local trace dir
  rm -rf "$store"
  for trace in "${buildah_traces[@]}"; do
    [ -w "$trace" ] || continue
    rm -f "$trace"
    dir=$(dirname "$trace")
    rmdir "$dir" "$(dirname "$dir")" 2>/dev/null || true
  done
}

in_store() {
  local verb=$1
  shift
  buildah --storage-driver vfs --root "$store/root" --runroot "$store/run" "$verb" "$@"
}

# archive NAME REF CONTEXT: builds and exports NAME.tar.
archive() {
  local name=$1 ref=$2 context=$3 new=$out/$1.tar.new
  rm -f "$new"
  case $(engine) in
    buildah)
      in_store bud --isolation chroot --timestamp 0 --quiet --tag "$ref" --file "$context/Dockerfile" "$context"
      in_store push --quiet "$ref" "oci-archive:$new:$ref"
      ;;
    podman)
      podman build --timestamp 0 --quiet --tag "$ref" --file "$context/Dockerfile" "$context"
      podman save --quiet --format oci-archive --output "$new" "$ref"
      ;;
    docker)
      docker build --quiet --tag "$ref" --file "$context/Dockerfile" "$context"
      docker save --output "$new" "$ref"
      ;;
  esac >"$out/$name.log" 2>&1 || { cat "$out/$name.log" >&2; fail "image $name could not be built."; }
  mv "$new" "$out/$name.tar"
}

# build NAME: does nothing when the archive already holds this content under this reference.
build() {
  local name=$1 context=$out/context/$1 files ref key
  say "image $name: compiling (nothing to do: 1 s; cold, 2 cores: up to ${cold[$name]})"
  files=$(binaries "$name") || fail "image $name: its binaries could not be built (see above)."
  rm -rf "$context"
  mkdir -p "$context"
  # shellcheck disable=SC2086 # one word per file, none with spaces: they are our own names
  install -m 0755 $files "$context/"
  cp "deploy/$(repository "$name").Dockerfile" "$context/Dockerfile"
  key=$(cd "$context" && sha256sum -- * | sha256sum)
  ref=$registry/$(repository "$name"):${key:0:16}
  if [ -e "$out/$name.tar" ] && [ "$(cat "$out/$name.ref" 2>/dev/null)" = "$ref" ]; then
    return
  fi
  rm -f "$out/$name.ref"
  archive "$name" "$ref" "$context"
  printf '%s\n' "$ref" >"$out/$name.ref"
  say "image $name: built $ref ($(du -h "$out/$name.tar" | cut -f1))"
}

# deliver NAME: to the registry if one is named, and into the local cluster unless another is;
# only what is not there yet.
deliver() {
  local name=$1 ref
  ref=$(cat "$out/$name.ref")
  if [ -n "${MBCAS_REGISTRY:-}" ] && [ "$(cat "$out/$name.pushed" 2>/dev/null)" != "$ref" ]; then
    say "image $name: pushing $ref"
    push "$name" "$ref" || fail "$ref could not be pushed. Is this machine logged in there?"
    printf '%s\n' "$ref" >"$out/$name.pushed"
  fi
  [ -z "${MBCAS_CONTEXT:-}" ] || return 0
  if ! deploy/local/cluster node true 2>/dev/null; then
    say "image $name: the local cluster is not up, so it is not loaded there"
  elif [ -z "$(deploy/local/cluster ctr images ls -q "name==$ref")" ]; then
    deploy/local/cluster load "$out/$name.tar" >/dev/null
    say "image $name: loaded into the local cluster"
  fi
}

push() {
  local image
  case $(engine) in
    buildah) image=$(in_store pull --quiet "oci-archive:$out/$1.tar") && in_store push --quiet "$image" "docker://$2" ;;
    *) "$(engine)" load --input "$out/$1.tar" >/dev/null && "$(engine)" push "$2" >/dev/null ;;
  esac
}

declare -A cold=([mbcas]="5 min" [agent]="90 s" [pause]="2 s")
load=yes
names=()
for argument in "$@"; do
  case $argument in
    --no-load) load=no ;;
    mbcas | agent | pause) names+=("$argument") ;;
    *) sed -n '2,3s/^# //p' "${BASH_SOURCE[0]##*/}" >&2 || true; fail "unknown argument '$argument'" ;;
  esac
done
[ "${#names[@]}" != 0 ] || names=(mbcas agent)

# take_lock NAME: two runs must not write one archive. Per image, so that `up`, which needs only the
# pause image, does not wait for a long compilation of the others.
take_lock() {
  exec 9>"$out/$1.lock"
  flock --nonblock 9 || { say "image $1: another run is building it; waiting"; flock 9; }
}

mkdir -p "$out"
store=$(mktemp -d)
trap clean EXIT
for name in "${names[@]}"; do
  take_lock "$name"
  build "$name"
  [ "$load" = no ] || deliver "$name"
done
for name in "${names[@]}"; do
  cat "$out/$name.ref"
done
