# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by loadtest/run: watches the stack while it is under load.
#
# CPU: a line a second and container in $RESULTS_DIR/cpu.tsv, "milliseconds<TAB>name<TAB>CPU time so far in microseconds". The
# kernel counts CPU time by control group, exactly and for nothing, and where the group of a container is, its process
# says: both versions of control groups, every driver. Where the containers' kernel is another one (Docker Desktop, an
# engine elsewhere) there is `docker stats`, whose percentages lib/cpu.js adds up.
# Events: what Docker says of the stack's containers, in $RESULTS_DIR/events.tsv, "milliseconds<TAB>what<TAB>which".

observers=()

start_observing() {
  : >"$RESULTS_DIR/cpu.tsv"
  : >"$RESULTS_DIR/events.tsv"
  local groups
  groups=$(cpu_groups)
  if [ -n "$groups" ]; then
    cpu_source="control groups"
    sample_cpu_groups "$groups" >>"$RESULTS_DIR/cpu.tsv" 2>/dev/null &
  else
    cpu_source="docker stats"
    sample_docker_stats >>"$RESULTS_DIR/cpu.tsv" 2>/dev/null &
  fi
  observers+=($!)
  watch_events >>"$RESULTS_DIR/events.tsv" 2>/dev/null &
  observers+=($!)
}

stop_observing() {
  local observer
  [ "${#observers[@]}" -gt 0 ] || return 0
  # The last second is only known after the next look.
  sleep 1.2
  for observer in "${observers[@]}"; do
    # A pipe's reader ends with its writer.
    pkill -P "$observer" 2>/dev/null || true
    kill "$observer" 2>/dev/null || true
    wait "$observer" 2>/dev/null || true
  done
  observers=()
}

running_containers() { project_containers | awk -F '\t' '$3 == "running" { print $2 }'; }

# Lines "name<TAB>file": where the CPU time of each running container is counted. Nothing if this kernel doesn't run them.
cpu_groups() {
  local name container
  # shellcheck disable=SC2046
  docker inspect --format '{{.Name}} {{.Id}}:{{.State.Pid}}' $(running_containers) 2>/dev/null | while read -r name container; do
    file=$(cpu_file_of "$container") && printf '%s\t%s\n' "${name#/}" "$file"
  done
}

# `cpu_file_of ID:PID`: the file that counts the CPU time of a container's control group.
cpu_file_of() {
  local id=${1%:*} pid=${1#*:} _ controllers path mount
  [ -r "/proc/$pid/cgroup" ] || return 1
  while IFS=: read -r _ controllers path; do
    # A process of another kernel may have the number of one that is here.
    [[ "$path" == *"$id"* ]] || continue
    case ",$controllers," in
      *,cpuacct,*)
        for mount in "/sys/fs/cgroup/$controllers" /sys/fs/cgroup/cpuacct; do
          if [ -r "$mount$path/cpuacct.usage" ]; then echo "$mount$path/cpuacct.usage" && return; fi
        done
        ;;
      ,,)
        if [ -r "/sys/fs/cgroup$path/cpu.stat" ]; then echo "/sys/fs/cgroup$path/cpu.stat" && return; fi
        ;;
    esac
  done <"/proc/$pid/cgroup"
  return 1
}

# Sets ms to the time, without forking where bash is new enough.
now_ms() {
  if [ -n "${EPOCHREALTIME:-}" ]; then
    ms=${EPOCHREALTIME/[^0-9]/}
    ms=${ms%???}
  else
    ms=$(date +%s%3N)
    # BSD's date knows no fractions.
    case "$ms" in *N) ms=$(date +%s)000 ;; esac
  fi
}

# `sample_cpu_groups GROUPS`: once a second, until it is killed. A container that was started again counts from zero; one
# that is down has no file for a while.
sample_cpu_groups() {
  local name file first second ms hertz generator_file=""
  hertz=$(getconf CLK_TCK)
  while :; do
    now_ms
    while IFS=$'\t' read -r name file; do
      { read -r first second <"$file"; } 2>/dev/null || continue
      # Version 2: "usage_usec 123"; version 1: nanoseconds.
      if [ -n "$second" ]; then first=$second; else first=$((first / 1000)); fi
      printf '%s\t%s\t%s\n' "$ms" "$name" "$first"
    done <<<"$1"
    local _ user nice system irq softirq
    read -r _ user nice system _ _ irq softirq _ </proc/stat
    printf '%s\tmachine\t%s\n' "$ms" $(((user + nice + system + irq + softirq) * (1000000 / hertz)))
    sample_generator
    sleep 1
  done
}

# The generator: the child of the shell that runs it, or a container.
sample_generator() {
  local container shell pid="" stat fields
  if [ "${#k6_command[@]}" -eq 0 ]; then
    if [ -z "$generator_file" ]; then
      container=$(docker inspect --format '{{.Id}}:{{.State.Pid}}' "$k6_container" 2>/dev/null) || return 0
      generator_file=$(cpu_file_of "$container") || return 0
    fi
    { read -r first second <"$generator_file"; } 2>/dev/null || return 0
    if [ -n "$second" ]; then first=$second; else first=$((first / 1000)); fi
    printf '%s\tgenerator\t%s\n' "$ms" "$first"
    return
  fi
  { read -r shell <"$RESULTS_DIR/pid"; } 2>/dev/null || return 0
  # This file has no line's end, and read calls that a failure.
  { read -r pid _ <"/proc/$shell/task/$shell/children"; } 2>/dev/null || true
  { read -r stat <"/proc/${pid:-0}/stat"; } 2>/dev/null || return 0
  # The name in brackets may have spaces in it.
  read -r -a fields <<<"${stat##*) }"
  printf '%s\tgenerator\t%s\n' "$ms" $(((fields[11] + fields[12]) * (1000000 / hertz)))
}

# Each look takes Docker a second or two. Lines "milliseconds<TAB>name<TAB>percent of a core".
sample_docker_stats() {
  local containers ms
  containers=$(running_containers)
  while :; do
    now_ms
    # shellcheck disable=SC2086
    docker stats --no-stream --format '{{.Name}}\t{{.CPUPerc}}' $containers | sed "s/^/$ms"$'\t/'
  done
}

# What happens to the stack's containers. One that is run for a moment (the audit) is none of it.
watch_events() {
  docker events --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter label=com.docker.compose.oneoff=False \
    --filter event=die --filter event=start --filter event=pause --filter event=unpause --filter event=oom \
    --format '{{.TimeNano}} {{.Action}} {{.Actor.Attributes.name}}' |
    while read -r nanoseconds what which; do
      printf '%s\t%s\t%s\n' "${nanoseconds%??????}" "$what" "$which"
    done
}

# Memory by container in MiB, as a line "name<TAB>MiB" each.
memory_by_container() {
  # shellcheck disable=SC2046
  docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' $(running_containers) | awk '
    { value = $2 + 0 } $2 ~ /GiB/ { value *= 1024 } $2 ~ /KiB/ { value /= 1024 } { printf "%s\t%.0f\n", $1, value }'
}
