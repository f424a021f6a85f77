# Run beside a container, in its network: `slow` makes what it sends slow until this ends, by a signal or after a minute,
# so that a link recovers also when nobody is left to tell it; `mend` sees to it that nothing of that is left.
rate="rate 1mbit burst 16kb latency 200ms"
delay="delay 100ms 20ms loss 1%"
seconds_max=60

links() { ip -o link show | cut -d: -f2 | cut -d@ -f1 | tr -d ' ' | grep -vx lo; }

# Which of the two a kernel has is found by trying. Where both are there, the rate comes after the delay.
slow_down() {
  if tc qdisc add dev "$1" root handle 1: netem $delay 2>/dev/null; then
    if tc qdisc add dev "$1" parent 1:1 handle 10: tbf $rate 2>/dev/null; then
      echo "1 Mbit/s, 100 ms, 1 % lost"
    else
      echo "100 ms, 1 % lost; this kernel has no tbf"
    fi
  elif why=$(tc qdisc add dev "$1" root handle 1: tbf $rate 2>&1); then
    echo "1 Mbit/s; this kernel has no netem"
  else
    echo "neither netem nor tbf can be had here: $why" >&2
    return 1
  fi
}

mend() {
  for link in $(links); do tc qdisc del dev "$link" root 2>/dev/null; done
  ! tc qdisc show | grep -E '^qdisc (netem|tbf) '
}

case "$1" in
  mend) mend ;;
  slow)
    trap 'mend; exit 0' TERM INT
    [ -n "$(links)" ] || { echo "it is on no network" >&2; exit 1; }
    for link in $(links); do
      said=$(slow_down "$link") || { mend; exit 1; }
    done
    echo "slow: $said"
    sleep "$seconds_max" &
    wait $!
    mend
    ;;
esac
