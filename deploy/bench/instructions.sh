#!/usr/bin/env bash
# Counts the instructions of one review, bytes in and bytes out, and fails if they are more than they
# were. Unlike a time, the count is the same on a busy machine. Usage: deploy/bench/instructions.sh
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/bench/binary.sh
. deploy/bench/binary.sh

# Instructions per review as measured, and how much more is let pass: compilers and allocators vary.
measured=162981
percent=4

# count TIMES: the instructions of a whole run with so many reviews.
count() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$handler" repeat "$1" 2>&1 |
    sed -n 's/^==[0-9]*== Collected : \([0-9]*\)$/\1/p'
}

handler=$(bench_binary handler)
# The difference of two runs: what the process needs to start and to end is in both.
few=$(count 100)
many=$(count 600)
found=$(((many - few) / 500))
most=$((measured * (100 + percent) / 100))
printf 'instructions per review: %d (pinned: %d, at most %d)\n' "$found" "$measured" "$most"
if [ "$found" -gt "$most" ]; then
  printf '%s\n' "A review takes $((100 * (found - measured) / measured)) % more instructions than it did." \
    "Find out why:  valgrind --tool=callgrind $handler repeat 1000  and  callgrind_annotate callgrind.out.*" \
    "If it is worth it, set measured=$found in deploy/bench/instructions.sh and say why in the commit." >&2
  exit 1
fi
if [ $((found * 100)) -lt $((measured * 90)) ]; then
  printf '%s\n' "That is a tenth less than pinned. Keep it: set measured=$found in deploy/bench/instructions.sh." >&2
fi
