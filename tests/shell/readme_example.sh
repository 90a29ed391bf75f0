#!/usr/bin/env bash
# The first C example of README.md compiles without a warning, links, runs, and answers 0.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${AMBIT_BUILD:-$root/build/debug}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -e "$root/README.md" ] || { echo "there is no README.md"; exit 77; }
awk '/^```c$/ { on = 1; next } /^```$/ { if (on) exit } on' "$root/README.md" >"$work/example.c"
[ -s "$work/example.c" ] || { echo "README.md has no C example"; exit 1; }
# shellcheck disable=SC2046
gcc -Wall -Wextra -Werror -I"$root/include" "$work/example.c" "$build/libambit.a" \
    $(pkg-config --libs jemalloc liburcu-cds liburcu-memb) -lpthread -o "$work/example"
timeout 60 "$work/example"
