#!/usr/bin/env bash
# The first C example of README.md compiles without a warning, links, runs, and answers 0.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
awk '/^```c$/{on=1; next} /^```$/{if (on) exit} on' "$root/README.md" >"$work/example.c"
[ -s "$work/example.c" ] || { echo "README.md has no C example"; exit 1; }
cc -Wall -Wextra -Werror -I"$root/include" "$work/example.c" "$root/build/debug/libambit.a" \
    $(pkg-config --libs jemalloc liburcu-memb) -lpthread -o "$work/example"
"$work/example"
