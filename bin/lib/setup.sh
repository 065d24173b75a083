# shellcheck shell=bash
# What bin/demo, bin/test and bin/bench need on a fresh Debian machine. Sourced, never run.
# Debian packages are installed when they are missing; Python packages go into a virtual environment in the cache,
# $DECANT_CACHE or ~/.cache/decant, named by a hash of what is in it.
set -euo pipefail
shopt -s inherit_errexit # need_venv runs in $(...), where errors would otherwise be passed over

DECANT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
DECANT_CACHE=${DECANT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/decant}
export DECANT_ROOT DECANT_CACHE
mkdir -p "$DECANT_CACHE"

# Hosts: podman with runc (crun refuses hybrid cgroups), a base image from Debian packages, SSH.
# shellcheck disable=SC2034 # the scripts that source this file use it
DECANT_HOST_PACKAGES=(git iproute2 iptables mmdebstrap netavark nftables openssh-client podman python3-venv runc)

say() { printf '%s\n' "$*" >&2; }

die() {
  say "$(basename "$0"): $*"
  exit 1
}

# The comment at the top of the script that sources this.
usage() { sed -n '2,/^# shellcheck/{/^# shellcheck/d;s/^# \{0,1\}//;p}' "$0"; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    command -v sudo >/dev/null || die "'$*' needs root, and sudo is not installed. Run as root."
    sudo "$@"
  fi
}

# Installs the Debian packages that are not there yet; asks apt for nothing when all are.
need_packages() {
  local package missing=()
  for package in "$@"; do
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  say "installing Debian packages: ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "apt-get could not install ${missing[*]}. Mend apt's sources or the network and run again."
  fi
  rm -f "$log"
}

# A Python 3.11 or newer that can make virtual environments; Debian's own before whatever PATH has.
find_python() {
  local candidate
  for candidate in ${DECANT_PYTHON:+"$DECANT_PYTHON"} /usr/bin/python3 python3; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return 0
    fi
  done
  die "no Python 3.11 or newer with the venv module was found. On Debian 12: apt-get install python3-venv."
}

# Prints the virtual environment with what requirements files name. Built aside and renamed: a broken build never looks finished.
need_venv() {
  local file files=() python hash venv aside log
  for file in "$@"; do files+=(-r "$file"); done
  python=$(find_python)
  hash=$({ cat "$@"; "$python" --version; } | sha256sum | cut -c1-12)
  venv=$DECANT_CACHE/venv-$(basename "$1" .txt)-$hash
  if [ ! -x "$venv/bin/python" ]; then
    say "installing what $(basename "$1") names into $venv"
    aside=$(mktemp -d "$DECANT_CACHE/venv.XXXXXX")
    log=$(mktemp)
    # The environment is used through its python, so that it may move: scripts' first lines would name the old place.
    if ! { "$python" -m venv "$aside" && "$aside/bin/python" -m pip install --quiet --disable-pip-version-check "${files[@]}"; } >"$log" 2>&1; then
      tail -n 20 "$log" >&2
      rm -rf "$aside"
      die "pip could not install what $1 names. Check the network, PIP_INDEX_URL and PIP_CERT, and run again."
    fi
    rm -f "$log"
    grep -rlIF "$aside" "$aside/bin" "$aside/pyvenv.cfg" | xargs -r sed -i "s|$aside|$venv|g"
    [ -x "$venv/bin/python" ] || rm -rf "$venv" # its Python went away
    mv -T "$aside" "$venv" 2>/dev/null || rm -rf "$aside" # another run was first
  fi
  printf '%s\n' "$venv"
}

# Prints a directory with the collections that optional roles use. From the PyPI package that carries them, since Galaxy may
# be out of reach; its other hundred collections (half a gigabyte) stay in the wheel.
need_collections() {
  local python=$1 version=12.3.0 folder aside # 12 is the release of ansible that goes with ansible-core 2.19
  folder=$DECANT_CACHE/collections-$version
  if [ ! -d "$folder" ]; then
    say "unpacking community.postgresql of ansible $version into $folder"
    aside=$(mktemp -d "$DECANT_CACHE/collections.XXXXXX")
    if ! "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$aside/wheel" "ansible==$version" >&2; then
      rm -rf "$aside"
      die "pip could not download ansible $version. Check the network, PIP_INDEX_URL and PIP_CERT, and run again."
    fi
    "$python" - "$aside" <<'END'
import pathlib, sys, zipfile
(wheel,) = pathlib.Path(sys.argv[1], "wheel").glob("ansible-*.whl")
with zipfile.ZipFile(wheel) as archive:
    wanted = [name for name in archive.namelist() if name.startswith("ansible_collections/community/postgresql/")]
    archive.extractall(sys.argv[1], wanted)
END
    rm -rf "$aside/wheel"
    mv -T "$aside" "$folder" 2>/dev/null || rm -rf "$aside" # another run was first
  fi
  printf '%s\n' "$folder"
}
