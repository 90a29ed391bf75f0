#!/usr/bin/env bash
# Only src/base/ knows time, memory, threads and atomics, and no room includes one above it.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

breaches() { # FOLDER: prints what breaks a wall below it
    (cd "$1" && find . -name '*.[ch]' ! -path './base/*' -print0 | xargs -0 -r grep -nE \
        '#include <(stdatomic|pthread|time|threads|urcu)[./]|(^|[^_a-z])(malloc|calloc|realloc|free)\(' || true)
    local floor=0 room
    for room in base census timer ctx; do
        floor=$((floor + 1))
        [ -d "$1/$room" ] || continue
        local above=0 other
        for other in base census timer ctx; do
            above=$((above + 1))
            [ $above -gt $floor ] && (cd "$1" && grep -rnE "#include \"$other/" "$room" || true)
        done
    done
    return 0
}

# First that it can fail.
planted=$(mktemp -d)
trap 'rm -rf "$planted"' EXIT
mkdir "$planted/census"
printf '#include <pthread.h>\n' >"$planted/census/a.c"
printf '#include "ctx/ctx.h"\n' >"$planted/census/b.c"
[ "$(breaches "$planted" | wc -l)" -eq 2 ] || { echo "the check does not see planted breaches"; exit 1; }

found=$(breaches "$root/src")
[ -z "$found" ] || { echo "$found"; exit 1; }
