#!/usr/bin/env bash
# The bench's own arithmetic and order, with contestants that make their figures up; and that its door
# and its table of rows hold together. Nothing here is timed.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong() { echo "$1"; exit 1; }

# ---- The door refuses, by name and before it builds anything.
refused() { # OPTION ...
    local status=0 said
    said=$("$root/bench/run" "$@" 2>&1) || status=$?
    [ $status -eq 2 ] || wrong "bench/run $*: status $status: $said"
    [[ $said == *"${*: -1}"* ]] || wrong "bench/run $* does not name what is wrong: $said"
}
refused --rounds 0
refused --rounds 100
refused --rounds ten
refused --milliseconds 5001
refused --threads 1,
refused --threads 0
refused --only 'no-such-row'
refused --only '['
refused --patience -1
refused --json
refused --bogus

# ---- Each contestant of a row has that row, so that a slip of the pen is not taken for a peer that
# cannot do it. What needs a newer Go stands in its sources all the same.
pairs=$(awk '$1 == "row" { row = $2 }
             $1 == "contestants" { for (i = 2; i <= NF; i++) print row, $i }' "$root/bench/rows.txt")
while read -r row word; do
    word=${word#\~}
    program=${word%%/*} variant=${word#"${word%%/*}"}
    grep -rqF -- "\"$row$variant\"" "$root/bench/contestants/$program" "$root"/bench/contestants/"$program".c* 2>/dev/null ||
        wrong "the contestant $program has no row $row$variant"
done <<<"$pairs"
listed=$("$root/bench/run" --list | wc -l)
[ "$listed" -eq "$(grep -c '^row ' "$root/bench/rows.txt")" ] || wrong "--list lists $listed rows"

# ---- Medians, the best peer, the floor, targets, the order of the rounds.
cc=${CC:-cc}
"$cc" -std=gnu11 -D_GNU_SOURCE -o "$work/compare" "$root"/bench/compare/*.c -lm
mkdir "$work/contestants"
fake() { # NAME, then what it says in each call: NANOSECONDS:PART, of which others took PART
    printf '%s\n' "${@:2}" >"$work/$1.figures"
    cat >"$work/contestants/$1" <<CONTESTANT
#!/bin/sh
case \$1 in
--list) echo work ;;
--about) echo "$1 1.0" ;;
*)
    echo $1 >>"$work/order"
    sed -n 1p "$work/$1.figures" | tr : ' '
    sed -i 1d "$work/$1.figures"
    ;;
esac
CONTESTANT
    chmod +x "$work/contestants/$1"
}
cat >"$work/rows.txt" <<'ROWS'
row          work
work         make figures up
threads      1 2
target       25 same
contestants  ambit floor near far ~cheat absent
ROWS
compare() { "$work/compare" --rows "$work/rows.txt" --contestants "$work/contestants" "$@"; }

# Half of its time is too much: that one is thrown away and measured again.
fake ambit 30:0 20:0 99:0.5 10:0 40:0 30:0 50:0
fake floor 8:0 8:0 8:0 9:0 9:0 9:0
fake near 33:0 30:0 1:0 60:0 60:0 60:0
fake far 100:0 100:0 100:0 100:0 100:0 100:0
fake cheat 2:0 2:0 2:0 2:0 2:0 2:0
said=$(compare --rounds 3 --json "$work/figures.json") || wrong "it fails: $said"
order=$(head -n 11 "$work/order" | tr '\n' ' ')
[ "$order" = "ambit floor near far cheat ambit floor near far cheat ambit " ] ||
    wrong "the contestants do not take turns: $order"
[[ $said == *"skipped: absent is not built"* ]] || wrong "a missing peer is not named: $said"
[[ $said == *"1 of 2 targets met; 1 measurements were thrown away"* ]] || wrong "the end is wrong: $said"
[[ $said == *"x 1.50"* && $said == *"near 30.0"* ]] || wrong "the best peer is wrong: $said"

if command -v jq >/dev/null; then
    expect() { # FILTER, VALUE
        local got
        got=$(jq -c "$1" "$work/figures.json") || wrong "not JSON"
        [ "$got" = "$2" ] || wrong "$1 is $got and should be $2"
    }
    expect 'length' 2
    expect '[.[].threads]' '[1,2]'
    expect '[.[].ambit_ns]' '[20,40]'
    expect '[.[0] | .ambit_low_ns, .ambit_high_ns]' '[10,30]'
    expect '.[0].peers' '{"near":30,"far":100,"cheat":2}'
    expect '.[0].best_peer' '"near"'
    expect '[.[].ratio]' '[1.5,1.5]'
    expect '[.[].floor_ns]' '[8,9]'
    expect '[.[].met]' '[true,false]'
    expect '[.[].target_ns]' '[25,21.05]'
    expect '.[0].skipped' '{"absent":"not built"}'
    expect '[.[].rejected]' '[1,0]'
fi

# ---- A contestant that fails is said to, and the door with it.
cat >"$work/contestants/far" <<'CONTESTANT'
#!/bin/sh
case $1 in
--list) echo work ;;
--about) echo far 1.0 ;;
*) exit 1 ;;
esac
CONTESTANT
for name in ambit floor near cheat; do fake $name 1:0 1:0; done
status=0
said=$(compare --rounds 1 2>&1) || status=$?
[[ $status -eq 1 && $said == *"far failed in work"* ]] || wrong "a failure is not seen ($status): $said"

# ---- The self-test's verdict: 1.02 is even, 1.04 is not.
sed -i 's/^target .*/target =1.00/; s/^threads .*/threads 1/; s/^contestants .*/contestants ambit near/' "$work/rows.txt"
fake ambit 100:0 && fake near 102:0
compare --rounds 1 >/dev/null || wrong "1.02 is not taken for even"
fake ambit 100:0 && fake near 104:0
! compare --rounds 1 >/dev/null || wrong "1.04 is taken for even"
echo "the bench's arithmetic holds"
