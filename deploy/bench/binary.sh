# shellcheck shell=bash
# bench_binary NAME [PACKAGE]: builds a program of webhook/benches, or of another package's, the way
# the images are built, so that one build serves both, and tells its path. Sourced by the scripts
# beside it.
bench_binary() {
  RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --quiet \
    --target "$(rustc -vV | sed -n 's/^host: //p')" -p "${2:-mbcas-webhook}" --bench "$1" --message-format=json |
    jq -r --arg name "$1" 'select(.target.name? == $name) | .executable // empty'
}
