# shellcheck shell=bash
# Sourced by the scripts that run the stack: its settings, which the compose file reads as variables. What the
# environment gives wins; what was chosen for the default project is kept in .env, which compose reads by itself.

default_project=zillion
default_subnet=10.213
compose_files_bounded=docker-compose.yml:deploy/chaos/bounded-disks.yml

load_settings() {
  if [ -z "${COMPOSE_PROJECT_NAME:-}" ]; then COMPOSE_PROJECT_NAME=$default_project; fi
  if [ "$COMPOSE_PROJECT_NAME" = "$default_project" ] && [ -r .env ]; then
    local name value
    while IFS='=' read -r name value; do
      [[ "$name" =~ ^[A-Z_]+$ ]] || continue
      if [ -z "${!name:-}" ]; then export "$name=$value"; fi
    done <.env
  elif [ "$COMPOSE_PROJECT_NAME" != "$default_project" ]; then
    # What is kept there is the default project's, and compose would read it all the same.
    export COMPOSE_DISABLE_ENV_FILE=1
  fi
  # A stack that exists keeps its addresses, whatever else is said.
  local existing
  existing=$(docker network inspect --format '{{(index .IPAM.Config 0).Subnet}}' "${COMPOSE_PROJECT_NAME}_data" 2>/dev/null | cut -d. -f1,2) || true
  if [ -n "$existing" ]; then export ZILLION_SUBNET=$existing; fi
  # So it keeps the disks that it was started with.
  if project_has_bounded_disks; then BOUNDED_DISKS=1; fi
  if [ "${BOUNDED_DISKS:-0}" != 0 ]; then
    export BOUNDED_DISKS=1 COMPOSE_FILE=$compose_files_bounded
  else
    unset BOUNDED_DISKS
  fi
  : "${SHOP_PORT:=8080}" "${EDGE_PORT:=8081}"
  # Two stacks on one machine differ in these as well, and 8080 and 8081 go with 8443 and 8444.
  : "${SHOP_TLS_PORT:=$((SHOP_PORT + 363))}" "${EDGE_TLS_PORT:=$((EDGE_PORT + 363))}"
  export COMPOSE_PROJECT_NAME SHOP_PORT EDGE_PORT SHOP_TLS_PORT EDGE_TLS_PORT
  if [ -n "${ROUTES_FOLDER:-}" ]; then
    # One that is gone is `make up`'s matter (require_front_files); a stack can be looked at and stopped without it.
    ROUTES_FOLDER=$(realpath "$ROUTES_FOLDER" 2>/dev/null || echo "$ROUTES_FOLDER")
    export ROUTES_FOLDER ROUTES_FILE=/etc/zillion/routes/routes.toml
  fi
  if [ -n "${TLS_FOLDER:-}" ]; then
    TLS_FOLDER=$(realpath "$TLS_FOLDER" 2>/dev/null || echo "$TLS_FOLDER")
    export TLS_FOLDER TLS_CERTIFICATE_FILE=/etc/zillion/tls/fullchain.pem TLS_KEY_FILE=/etc/zillion/tls/privkey.pem
  fi
}

# What breaks a stack and what loads it have to mean the same one: a stack that exists is asked where it answers.
use_published_ports() {
  local gateway inside outside
  gateway=$(docker ps --all --quiet --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter label=com.docker.compose.service=gateway | head -n 1)
  [ -n "$gateway" ] || return 0
  while read -r inside outside; do
    case "$inside" in
      8080/tcp) SHOP_PORT=$outside ;;
      8081/tcp) EDGE_PORT=$outside ;;
      8443/tcp) SHOP_TLS_PORT=$outside ;;
      8444/tcp) EDGE_TLS_PORT=$outside ;;
    esac
  done < <(docker inspect --format '{{range $port, $bound := .HostConfig.PortBindings}}{{range $bound}}{{$port}} {{.HostPort}}{{println}}{{end}}{{end}}' "$gateway")
}

# Balancers and edges would not start without them.
require_front_files() {
  if [ -n "${ROUTES_FOLDER:-}" ] && [ ! -r "$ROUTES_FOLDER/routes.toml" ]; then
    fail "there is no routes.toml in ROUTES_FOLDER=$ROUTES_FOLDER" "Begin with a copy of crates/balancer/routes.toml, or take ROUTES_FOLDER and ROUTES_FILE out of .env."
  fi
  [ -n "${TLS_FOLDER:-}" ] || return 0
  if [ ! -e "$TLS_FOLDER/fullchain.pem" ] || [ ! -e "$TLS_FOLDER/privkey.pem" ]; then
    fail "there are no fullchain.pem and privkey.pem in TLS_FOLDER=$TLS_FOLDER" "Put them there, or take TLS_FOLDER, TLS_CERTIFICATE_FILE and TLS_KEY_FILE out of .env."
  fi
}

project_has_bounded_disks() {
  [ -n "$(docker ps --all --quiet --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter label=com.docker.compose.service=bounded-disks 2>/dev/null)" ]
}

# A running stack would find its databases empty, and everything that is kept beside them not.
require_same_disks() {
  if [ -z "${BOUNDED_DISKS:-}" ] || [ -z "$(project_containers)" ] || project_has_bounded_disks; then return 0; fi
  fail "this stack was started without bounded disks" "Stop it first (make down): its data stays, and is there again without BOUNDED_DISKS."
}

save_settings() {
  [ "$COMPOSE_PROJECT_NAME" = "$default_project" ] || return 0
  local name
  for name in ZILLION_SUBNET SHOP_ADDRESS SHOP_PORT EDGE_PORT SHOP_TLS_PORT EDGE_TLS_PORT GARAGE_SOURCE EXTRA_CA ROUTES_FOLDER ROUTES_FILE \
    TLS_FOLDER TLS_CERTIFICATE_FILE TLS_KEY_FILE; do
    # An empty name of a file would be one that can't be read.
    if [ -n "${!name:-}" ]; then echo "$name=${!name}"; fi
  done >.env
}

# The project's containers as lines "service<TAB>name<TAB>state<TAB>status", stopped ones too.
project_containers() {
  docker ps --all --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter label=com.docker.compose.oneoff=False \
    --format '{{.Label "com.docker.compose.service"}}\t{{.Names}}\t{{.State}}\t{{.Status}}' | sort
}

# What makes a link slow for `make chaos` undoes that when it is told to end.
mend_slow_links() {
  local beside
  for beside in $(docker ps --all --quiet --filter "label=zillion.chaos=$COMPOSE_PROJECT_NAME"); do
    say "Ending what makes a link slow"
    docker stop -t 5 "$beside" >/dev/null
    docker rm --force "$beside" >/dev/null
  done
}

is_one_shot() { case "$1" in secrets | objects-setup | migrate | seed) true ;; *) false ;; esac }

networks_of() {
  case "$1" in
    gateway) echo public ;;
    bounded-disks) ;;
    balancer | edge) echo web ;;
    inventory | user | photo-worker) echo web data ;;
    *) echo data ;;
  esac
}

# `missing_networks SERVICE CONTAINER`: those that it should be on and was cut off from.
missing_networks() {
  local attached network
  attached=$(docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}' "$2")
  for network in $(networks_of "$1"); do
    grep -qx "${COMPOSE_PROJECT_NAME}_$network" <<<"$attached" || echo "$network"
  done
}

# The first subnet whose addresses neither Docker nor this machine uses, unless the stack has one already.
choose_subnet() {
  local candidate wanted=${ZILLION_SUBNET:-$default_subnet}
  [[ "$wanted" =~ ^[0-9]{1,3}\.[0-9]{1,3}$ ]] ||
    fail "ZILLION_SUBNET=$wanted is not the first two numbers of an address" "For example: ZILLION_SUBNET=10.220 make up"
  ZILLION_SUBNET=$wanted
  if ! docker network inspect "${COMPOSE_PROJECT_NAME}_data" >/dev/null 2>&1 && subnet_is_taken "$wanted"; then
    ZILLION_SUBNET=""
    # Where all of 10.0.0.0/8 is somebody's, as behind many VPNs, the other private range is left.
    for candidate in $(seq -f '10.%g' 213 254) $(seq -f '10.%g' 100 212) $(seq -f '172.%g' 20 31); do
      if ! subnet_is_taken "$candidate"; then
        ZILLION_SUBNET=$candidate
        break
      fi
    done
    [ -n "$ZILLION_SUBNET" ] || fail "no free subnet found in 10.100 to 10.254 nor in 172.20 to 172.31" "Choose one: ZILLION_SUBNET=192.168 make up"
    say "The subnet $wanted.0.0/16 is in use here: the stack gets $ZILLION_SUBNET.0.0/16"
  fi
  export ZILLION_SUBNET
}

# `subnet_is_taken A.B`: whether A.B.0.0/16 shares an address with a network of Docker's or with a route of this machine.
subnet_is_taken() {
  {
    docker network ls --quiet | xargs -r docker network inspect --format '{{range .IPAM.Config}}{{println .Subnet}}{{end}}' 2>/dev/null || true
    ip -4 route 2>/dev/null || true
  } | awk -v wanted="$1" '
    BEGIN { split(wanted, octet, "."); first = octet[1] * 16777216 + octet[2] * 65536; last = first + 65535 }
    $1 ~ /^[0-9][0-9.]*(\/[0-9]+)?$/ {
      split($1, part, "/"); split(part[1], octet, ".")
      size = 2 ^ (32 - (part[2] == "" ? 32 : part[2]))
      start = octet[1] * 16777216 + octet[2] * 65536 + octet[3] * 256 + octet[4]
      start -= start % size
      if (start <= last && start + size - 1 >= first) taken = 1
    }
    END { exit !taken }'
}

# A port that something else holds is found before the build, not after it.
require_free_port() {
  local name=$1 port=${!1} holder
  if ! [[ "$port" =~ ^[0-9]{1,5}$ ]] || [ "$port" -lt 1 ] || [ "$port" -gt 65535 ]; then fail "$name=$port is not a port number"; fi
  holder=$(docker ps --filter "publish=$port" --format '{{.Label "com.docker.compose.project"}} {{.Names}}' | head -n 1)
  case "$holder" in
    "$COMPOSE_PROJECT_NAME "*) return ;;
    "") if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then holder="a process of this machine"; else return 0; fi ;;
    *) holder="the container ${holder##* }" ;;
  esac
  fail "port $port is taken by $holder" "Stop it, or choose another port: $name=$((port + 1000)) make up"
}

# A machine with certificates of its own sits behind a proxy that inspects traffic; builds have to trust it too.
choose_extra_ca() {
  if [ -z "${EXTRA_CA:-}" ] && ls /usr/local/share/ca-certificates/*.crt >/dev/null 2>&1; then
    EXTRA_CA=/etc/ssl/certs/ca-certificates.crt
  fi
  export EXTRA_CA="${EXTRA_CA:-/dev/null}"
}

# All of it, chosen where nothing says so yet.
choose_settings() {
  load_settings
  case "${SHOP_ADDRESS:=127.0.0.1}" in
    127.0.0.1 | 0.0.0.0) export SHOP_ADDRESS ;;
    # What looks after the stack asks it at 127.0.0.1.
    *) fail "SHOP_ADDRESS=$SHOP_ADDRESS is neither 127.0.0.1 nor 0.0.0.0" "The first is for this machine alone, the second for all that reach it." ;;
  esac
  choose_subnet
  if [ -z "${GARAGE_SOURCE:-}" ]; then GARAGE_SOURCE=$(deploy/objects/source); fi
  export GARAGE_SOURCE
  choose_extra_ca
  save_settings
}
