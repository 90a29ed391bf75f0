#!/usr/bin/env bash
# Each public header compiles alone, and twice, in C11 and in C++17, with both compilers, without a
# warning. GNU extensions are allowed.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root/include"

common="-Wall -Wextra -Wshadow -Wconversion -Wundef -Wvla -Werror -I. -fsyntax-only"
failed=0
try() { # HEADER, COMPILER...
    local header=$1
    shift
    # shellcheck disable=SC2086
    "$@" $common || { echo "$header fails with: $*"; failed=1; }
}
count=0
while read -r header; do
    count=$((count + 1))
    printf '#include "%s"\n#include "%s"\n' "$header" "$header" | tee "$work/alone.c" >"$work/alone.cc"
    echo 'int ambit_here;' | tee -a "$work/alone.c" >>"$work/alone.cc"
    try "$header" clang -std=c11 -Wstrict-prototypes -Wpedantic -Wno-gnu "$work/alone.c"
    try "$header" gcc -std=c11 -Wstrict-prototypes "$work/alone.c"
    try "$header" clang++ -std=c++17 "$work/alone.cc"
    try "$header" g++ -std=c++17 "$work/alone.cc"
done < <(find . -name '*.h' | sed 's|^\./||' | sort)
echo "$count headers"
[ $count -gt 0 ] && [ $failed -eq 0 ]
