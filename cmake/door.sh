# The part that all doors share; sourced by them.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Says what is wrong and ends as a usage error.
door_refuse() {
    echo "$(basename "$(dirname "$0")")/run: $1 (try --help)" >&2
    exit 2
}

# Installs what is missing from the list; without root it says what to install and how.
door_packages() {
    local package missing=()
    command -v dpkg-query >/dev/null || return 0 # not Debian: the build says what it lacks
    while read -r package; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done < <(grep -v '^#' "$root/cmake/debian-packages.txt" | grep .)
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "missing packages; install them with: sudo apt-get install ${missing[*]}" >&2
        exit 2
    fi
    echo "installing ${missing[*]}"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends "${missing[@]}"; } >/dev/null ||
        { echo "could not install: ${missing[*]}" >&2; exit 2; }
}

# Configures and builds a preset; what the tools say is shown only if they fail.
door_build() {
    local log="$root/build/$1.log"
    mkdir -p "$root/build"
    echo "building $1 ..."
    if ! (cd "$root" && cmake --preset "$1" && cmake --build "build/$1") >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        echo "the build of preset $1 failed; all of its output is in $log" >&2
        exit 1
    fi
}
