#!/usr/bin/env bash
# Every door has --help, works from any folder, and refuses an unknown option by its
# name, before it installs or builds anything.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
seen=0
for path in "$root"/*/run "$root"/tests/schedule/run; do
    [ -e "$path" ] || continue
    door=${path#"$root"/}
    seen=$((seen + 1))
    [ -x "$path" ] || { echo "$door is not executable"; exit 1; }
    said=$("$path" --help) || { echo "$door --help fails"; exit 1; }
    [[ $said == *--help* ]] || { echo "$door --help does not tell its options: $said"; exit 1; }
    status=0
    said=$("$path" --no-such-option 2>&1) || status=$?
    [ $status -eq 2 ] || { echo "$door took --no-such-option (status $status)"; exit 1; }
    [[ $said == *--no-such-option* ]] || { echo "$door does not name the option: $said"; exit 1; }
done
[ -z "$(ls -A)" ] || { echo "a door left files in the current folder: $(ls -A)"; exit 1; }
echo "$seen doors"
[ $seen -gt 0 ]
