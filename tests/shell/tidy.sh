#!/usr/bin/env bash
# clang-tidy has nothing to say about src/. A process for each file: with several in one, version 14
# carries va_lists over from one to the next, and calls them uninitialised.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${AMBIT_BUILD:-$root/build/debug}
tool=
for name in clang-tidy-14 clang-tidy; do
    # Another major has other checks: its opinion does not count.
    if command -v $name >/dev/null && [[ $($name --version) == *"version 14."* ]]; then tool=$name; break; fi
done
[ -n "$tool" ] || { echo "no clang-tidy 14 here"; exit 77; }
[ -f "$build/compile_commands.json" ] || { echo "no compile_commands.json in $build"; exit 77; }
cd "$root"

# First that it can fail.
planted=$(mktemp -d)
trap 'rm -rf "$planted"' EXIT
cat >"$planted/plant.c" <<'C'
int plant(int value);
int plant(int value) {
    if (value)
        value = 1;
    else
        value = 1;
    return value;
}
C
if "$tool" --quiet --config-file="$root/.clang-tidy" "$planted/plant.c" -- >"$planted/said" 2>&1; then
    echo "the check does not see a branch that repeats the other"
    exit 1
fi
grep -q 'bugprone-branch-clone,-warnings-as-errors' "$planted/said" || { cat "$planted/said"; exit 1; }

# It counts its warnings on stderr, the suppressed ones of system headers too.
printf '%s\0' src/*/*.c | xargs -0 -n 1 -P 2 "$tool" --quiet -p "$build" 2>"$planted/counted" ||
    { grep -vE '^[0-9]+ warnings? (generated|treated as error)' "$planted/counted" || true; exit 1; }
