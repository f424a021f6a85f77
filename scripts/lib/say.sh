# shellcheck shell=bash
# Sourced by the other scripts: one voice for progress and for errors.

say() { printf '%s\n' "$*" >&2; }

# Ends the script. The first argument says what is wrong, the others what to do about it.
fail() {
  printf 'error: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit 1
}

# macOS has no timeout: there a command may take as long as it likes.
command -v timeout >/dev/null || timeout() { shift; "$@"; }

is_root() { [ "$(id -u)" = 0 ]; }

is_debian() { [ -r /etc/debian_version ] && command -v apt-get >/dev/null; }

# Installs Debian packages, saying so. Only ever called as root on Debian.
apt_install() {
  say "Installing from Debian's packages: $*"
  # Lists that are missing or stale are fetched first; a second failure is the user's to see.
  if ! DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
  fi
}

# Prints the Debian mirrors that this machine's own apt uses: `debian_mirror main` or `debian_mirror security`.
debian_mirror() {
  local mirrors
  mirrors=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian(-security)?/?$' | sort -u)
  if [ "$1" = security ]; then
    grep -m 1 -- '-security/*$' <<<"$mirrors" || true
  else
    grep -m 1 -v -- '-security/*$' <<<"$mirrors" || true
  fi
}
