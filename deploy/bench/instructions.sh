#!/usr/bin/env bash
# Counts the instructions of what is done most often, and fails if they are more than they were.
# Unlike a time, the count is the same on a busy machine. Usage: deploy/bench/instructions.sh
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/bench/binary.sh
. deploy/bench/binary.sh

# How much more than measured is let pass: compilers and allocators vary.
percent=4

# count PROGRAM ARGUMENTS...: the instructions of a whole run.
count() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1 |
    sed -n 's/^==[0-9]*== Collected : \([0-9]*\)$/\1/p'
}

# pin WHAT MEASURED PROGRAM ARGUMENTS...: the instructions of one of them, which are done as often as
# the last argument says. What the process needs to start and to end is in both runs.
pin() {
  local what=$1 measured=$2 few many found most
  shift 2
  few=$(count "$@" 100)
  many=$(count "$@" 600)
  found=$(((many - few) / 500))
  most=$((measured * (100 + percent) / 100))
  printf 'instructions per %-38s %8d (pinned: %d, at most %d)\n' "$what:" "$found" "$measured" "$most"
  if [ "$found" -gt "$most" ]; then
    printf '%s\n' "A $what takes $((100 * (found - measured) / measured)) % more instructions than it did." \
      "Find out why:  valgrind --tool=callgrind $* 1000  and  callgrind_annotate callgrind.out.*" \
      "If it is worth it, set $found for it in deploy/bench/instructions.sh and say why in the commit." >&2
    return 1
  fi
  if [ $((found * 100)) -lt $((measured * 90)) ]; then
    printf '%s\n' "That is a tenth less than pinned. Keep it: set $found for it in deploy/bench/instructions.sh." >&2
  fi
}

handler=$(bench_binary handler)
market=$(bench_binary market mbcas-market)
status=0
pin "review, from bytes in to bytes out" 150965 "$handler" repeat || status=1
pin "node of 110 participants, solved" 11674 "$market" repeat solve || status=1
pin "node of 30 pods, planned" 83988 "$market" repeat plan || status=1
exit "$status"
