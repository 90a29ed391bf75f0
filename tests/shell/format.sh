#!/usr/bin/env bash
# All C text is in the house format.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
tool=
for name in clang-format-14 clang-format; do
    # Another major breaks lines elsewhere: its opinion does not count.
    if command -v $name >/dev/null && [[ $($name --version) == *"version 14."* ]]; then tool=$name; break; fi
done
[ -n "$tool" ] || { echo "no clang-format 14 here"; exit 77; }
cd "$root"
# What is tracked; in an unpacked archive, which has no git, what is there.
if git rev-parse --git-dir >/dev/null 2>&1; then git ls-files -z '*.c' '*.h' '*.cc'
else find include src tests stress bench examples -name '*.c' -print0 -o -name '*.h' -print0 -o -name '*.cc' -print0; fi |
    xargs -0 -r "$tool" --dry-run -Werror
