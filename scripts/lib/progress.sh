# shellcheck shell=bash
# Sourced by the scripts that make people wait: says what goes on now, and how long it usually takes.

format_seconds() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# On a terminal the line is written over; in a log there is one every half minute.
last_progress_second=-1000
show_progress() {
  if [ -t 2 ]; then
    printf '\r\033[K  %s' "$(cut -c "1-$((${COLUMNS:-$(tput cols 2>/dev/null || echo 100)} - 4))" <<<"$1")" >&2
  elif [ $((SECONDS - last_progress_second)) -ge 30 ]; then
    last_progress_second=$SECONDS
    printf '  %s\n' "$1" >&2
  fi
}

end_progress() { if [ -t 2 ]; then printf '\r\033[K' >&2; fi; }

# `with_progress WHAT USUAL_SECONDS LOG COMMAND...`: runs the command with its output in the log; on failure shows
# the log's end and returns the command's status.
with_progress() {
  local what=$1 usual_seconds=$2 log=$3 started=$SECONDS status=0 pid last_line
  shift 3
  say "$what (usually $(format_seconds "$usual_seconds"))"
  "$@" >"$log" 2>&1 &
  pid=$!
  # A build outlives an impatient Ctrl-C otherwise.
  trap 'kill "$pid" 2>/dev/null; end_progress; exit 130' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    last_line=$(tail -c 400 "$log" | tr '\r' '\n' | grep -a -v '^ *$' | tail -n 1) || true
    show_progress "$(format_seconds $((SECONDS - started))) ${last_line:-}"
    sleep 1
  done
  wait "$pid" || status=$?
  trap - INT TERM
  end_progress
  if [ "$status" != 0 ]; then
    say "$what: failed after $(format_seconds $((SECONDS - started))); the end of $log:"
    tail -n 30 "$log" >&2
    return "$status"
  fi
  say "  done in $(format_seconds $((SECONDS - started)))"
}
