# shellcheck shell=bash
# The part that all doors share; sourced by them, from any current folder.
set -o pipefail # a build that fails behind a pipe has failed, whatever the door has set
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
door=$(basename "$(cd "$(dirname "$0")" && pwd)")

# Says what is wrong and ends as a usage error.
door_refuse() {
    echo "$door/run: $1 (try --help)" >&2
    exit 2
}

# Prints the packages of the list that this door needs.
door_wanted() {
    local package doors
    while read -r package doors; do
        [ -n "$package" ] || continue
        [[ -z $doors || " $doors " == *" $door "* ]] && echo "$package"
    done < <(sed 's/#.*//' "$root/cmake/debian-packages.txt")
    return 0
}

# Installs what is missing from the list; without root it says what to install and how. Asks only the
# local database first, so that it needs no network where nothing is missing.
door_packages() {
    local package missing=()
    command -v dpkg-query >/dev/null || return 0 # not Debian: the build says what it lacks
    while read -r package; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -x installed >/dev/null ||
            missing+=("$package")
    done < <(door_wanted)
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "missing packages: ${missing[*]}" >&2
        echo "install them with: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 2
    fi
    echo "installing ${missing[*]}"
    mkdir -p "$root/build"
    local log="$root/build/packages.log"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null ||
        { tail -n 20 "$log" >&2; echo "could not install: ${missing[*]}" >&2; exit 2; }
}

# Shows the last line of a build in place on a terminal; keeps all lines in the log.
door_progress() {
    local line
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$1"
        if [ -t 1 ]; then printf '\r\033[K%.100s' "$line"; fi
    done
    if [ -t 1 ]; then printf '\r\033[K'; fi
}

# door_build PRESET [TARGET ...]: configures and builds, and ends the door if that fails, so that no
# door ever runs what an earlier build has left.
door_build() { door_try_build "$@" || exit 1; }

# The same, but returns 1, for a door that has more to do and counts the failure itself. Two doors may
# build at once: the second waits for the first.
door_try_build() {
    local preset=$1 log="$root/build/$1.log" lock started=$SECONDS
    shift
    if ! mkdir -p "$root/build" 2>/dev/null || [ ! -w "$root/build" ]; then
        door_refuse "$root/build cannot be written: the checkout has to be one that can, copy it first"
    fi
    exec {lock}>"$root/build/$preset.lock"
    flock "$lock"
    : >"$log"
    printf 'building %s ...\n' "$preset"
    # A tree that was moved or whose compiler changed has a cache that is refused: --fresh drops it.
    if (cd "$root" && { cmake --preset "$preset" || cmake --fresh --preset "$preset"; } &&
        cmake --build "build/$preset" ${1:+--target "$@"}) 2>&1 | door_progress "$log"; then
        printf 'built %s in %d s\n' "$preset" $((SECONDS - started))
        exec {lock}>&-
        return 0
    fi
    exec {lock}>&-
    # From the first failure on: what ninja says after it comes from the jobs beside it.
    sed -n '/^FAILED: \|CMake Error/,$p' "$log" | head -n 40 | cut -c1-500 >&2
    echo "the build of preset $preset failed; all of its output is in ${log#"$root"/}" >&2
    return 1
}

# Fills the array `calm`, to put before the command of a sanitized program: clang 14's ThreadSanitizer
# does not start where the kernel spreads mappings over more than 28 bits.
# shellcheck disable=SC2034
door_calm() {
    calm=()
    local bits
    bits=$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 0)
    if [ "$bits" -gt 28 ] && setarch -R true 2>/dev/null; then calm=(setarch -R); fi
}
