#!/usr/bin/env bash
# Each public header compiles alone, in C11 and in C++17, with both compilers, without a warning.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root/include"
for header in ambit.h ambit/*.h; do
    echo "#include \"$header\"" >"$work/alone.c"
    cp "$work/alone.c" "$work/alone.cc"
    for compiler in "clang -std=c11" "gcc -std=c11"; do
        $compiler -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror -I. \
            -fsyntax-only "$work/alone.c" || { echo "$header fails with $compiler"; exit 1; }
    done
    for compiler in "clang++ -std=c++17" "g++ -std=c++17"; do
        $compiler -Wall -Wextra -Werror -I. -fsyntax-only "$work/alone.cc" ||
            { echo "$header fails with $compiler"; exit 1; }
    done
done
