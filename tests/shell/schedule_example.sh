#!/usr/bin/env bash
# The controlled scheduler finds both bugs of examples/schedule/ and tells them with a table, plays them
# again by their seeds, and has nothing to say about the fixed ones.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${AMBIT_BUILD:-$root/build/debug}/examples/schedule
[ -d "$build" ] || { echo "the controlled scheduler is not built here"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong() { cat "$work/log"; echo "$1"; exit 1; }

finds() { # EXAMPLE, then what it has to say
    local status=0 text
    "$build/example_$1" >"$work/log" 2>&1 || status=$?
    [ $status -eq 1 ] || wrong "$1: status $status, expected 1"
    for text in "${@:2}"; do grep -q -- "$text" "$work/log" || wrong "$1 does not say: $text"; done
}
finds counter 'race' 'counter\.c:' 'seed'
finds wakeup 'lost wake-up' 'wakeup\.c:' 'cond_wait' 'cond_signal' 'seed'
for name in counter wakeup; do
    "$build/example_${name}_fixed" >"$work/log" 2>&1 || wrong "the fixed $name fails"
done
