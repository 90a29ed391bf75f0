#!/usr/bin/env bash
# Every door has --help, works from any folder, and refuses an unknown option by its name.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd /
for door in tests stress bench; do
    [ -x "$root/$door/run" ] || continue
    "$root/$door/run" --help | grep -q -- --help || { echo "$door/run --help says nothing"; exit 1; }
    status=0
    said=$("$root/$door/run" --no-such-option 2>&1) || status=$?
    [ $status -eq 2 ] || { echo "$door/run took --no-such-option (status $status)"; exit 1; }
    [[ $said == *--no-such-option* ]] || { echo "$door/run does not name the option: $said"; exit 1; }
done
