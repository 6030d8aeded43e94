# shellcheck shell=bash
# What the person at the terminal sees: steps with the time since the start, waits that say how far
# they are, and failures that show the log at fault.

mbcas_started=$SECONDS

# say TEXT: one progress line. All of them go to stderr, so that the output of a pass-through
# command (`cluster kubectl get -o json`) stays clean.
say() {
  printf '[%4ds] %s\n' "$((SECONDS - mbcas_started))" "$*" >&2
}

# fail TEXT...: the message, one line per argument, and the end.
fail() {
  printf 'cluster: %s\n' "$1" >&2
  shift
  local line
  for line in "$@"; do
    printf '         %s\n' "$line" >&2
  done
  exit 1
}

# show_log FILE: the end of a log, marked so that nobody takes it for our own words.
show_log() {
  [ -s "$1" ] || { printf '  (%s is empty)\n' "$1" >&2; return 0; }
  printf '  last lines of %s:\n' "$1" >&2
  tail -n 15 "$1" | cut -c 1-400 | sed 's/^/  | /' >&2
}

# wait_until SECONDS WHAT COMMAND...: asks every 0.2 s; says every 10 s that it still waits.
# Returns 1 when the time is up, for the caller to name the log at fault.
wait_until() {
  local limit=$1 what=$2 begin=$SECONDS told=$SECONDS
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ $((SECONDS - begin)) -ge "$limit" ]; then
      return 1
    fi
    if [ $((SECONDS - told)) -ge 10 ]; then
      told=$SECONDS
      say "still waiting for $what ($((SECONDS - begin)) s of at most $limit s)"
    fi
    sleep 0.2
  done
}
