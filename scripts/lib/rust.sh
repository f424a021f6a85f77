# shellcheck shell=bash
# Sourced by the scripts that need Rust, after say.sh and settings.sh. Where it is missing they run in the image that also builds the processes.

# `run_in_build_image SCRIPT VARIABLE... -- ARGUMENT...`: ends this script by running one in that image, with these
# variables given on. It shares the engine's socket and the host's network, since what runs there starts containers and
# talks to 127.0.0.1.
run_in_build_image() {
  local script=$1 name
  shift
  scripts/docker-setup
  deploy/base/build
  say "No Rust here: running $script in the build image"
  docker buildx build --quiet --load --tag zillion-test-runner deploy/test >/dev/null
  choose_extra_ca
  local options=(--rm --init --network host --workdir "$PWD"
    --volume "$PWD:$PWD" --volume /var/run/docker.sock:/var/run/docker.sock --volume zillion-test-cargo:/usr/local/cargo/registry
    --env CI --env http_proxy --env https_proxy --env no_proxy --env FILES_OWNER="$(id -u):$(id -g)")
  while [ $# -gt 0 ]; do
    name=$1
    shift
    [ "$name" != -- ] || break
    options+=(--env "$name")
  done
  if [ -t 0 ] && [ -t 1 ]; then options+=(--interactive --tty); fi
  if [ -n "${GARAGE_BINARY:-}" ]; then options+=(--env GARAGE_BINARY --volume "$GARAGE_BINARY:$GARAGE_BINARY:ro"); fi
  if [ "$EXTRA_CA" != /dev/null ]; then
    options+=(--volume "$EXTRA_CA:$EXTRA_CA:ro" --env EXTRA_CA --env CARGO_HTTP_CAINFO="$EXTRA_CA")
  fi
  exec docker run "${options[@]}" zillion-test-runner "$script" "$@"
}

# In the build image everything is written as root, on a checkout that is somebody else's.
give_files_back() {
  if [ -n "${FILES_OWNER:-}" ]; then chown -R "$FILES_OWNER" target .work deploy/objects/prebuilt 2>/dev/null || true; fi
}
