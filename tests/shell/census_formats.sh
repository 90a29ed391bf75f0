#!/usr/bin/env bash
# What the census writes is read by others' tools: JSON by Python and jq, profiles by `go tool pprof`.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${AMBIT_BUILD:-$root/build/debug}
for tool in python3 jq go; do
    command -v "$tool" >/dev/null || { echo "there is no $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME=$work PPROF_TMPDIR=$work

cat >hostile.c <<'C'
#include <ambit.h>
#include <stdio.h>
static const ambit_site sites[] = {
    {"quote\".c", "back\\slash", 1},       {"line\nbreak\t.c", "\x01\x1f\x7f", 2},
    {"\xff\xfe.c", "latin\xe4", 3},        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80.c", "utf8", 4},
    {"\xed\xa0\x80.c", "surrogate", 5},    {"", "empty", 6},
    {"</script>", "%s%n", 4294967295u},
};
enum { SITES = sizeof sites / sizeof *sites };
static int save(const char *name, ambit_status (*write)(const ambit_census *, ambit_writer *, void *),
                const ambit_census *census) {
    FILE *file = fopen(name, "wb");
    return !file || write(census, ambit_write_to_file, file) || fclose(file);
}
int main(void) {
    ambit_census *before, *after;
    ambit_ctx *held[3 * SITES];
    if (ambit_census_take(&before)) return 1;
    for (int i = 0; i < 3 * SITES; i++) { /* the i-th line has 3 objects of i * 10 bytes */
        if (ambit_ctx_open_at(ambit_background(), AMBIT_NEVER, &held[i], &sites[i / 3])) return 1;
        if (!ambit_ctx_alloc(held[i], (size_t)(i / 3 * 10))) return 1;
    }
    if (ambit_census_take(&after)) return 1;
    if (save("census.json", ambit_census_write_json, after)) return 1;
    if (save("census.pb", ambit_census_write_pprof, after)) return 1;
    if (save("empty.json", ambit_census_write_json, before)) return 1;
    if (save("empty.pb", ambit_census_write_pprof, before)) return 1;
    FILE *file = fopen("growth.json", "wb");
    if (!file || ambit_census_write_growth_json(after, before, ambit_write_to_file, file)) return 1;
    if (fclose(file)) return 1;
    for (int i = 0; i < 3 * SITES; i++) ambit_ctx_close(&held[i]);

    /* Only what is sampled stays: three objects whose stacks stand for a thousand each. */
    ambit_stack_counts counts;
    if (ambit_census_level_set(AMBIT_LEVEL_SAMPLED, 1000)) return 1;
    for (uint64_t kept = 0; kept < 3;) {
        if (ambit_ctx_open(ambit_background(), &held[kept])) return 1;
        ambit_stack_counts_read(&counts);
        if (counts.live == kept)
            ambit_ctx_close(&held[kept]);
        else if (!ambit_ctx_alloc(held[kept++], 100))
            return 1;
    }
    ambit_census_free(after);
    if (ambit_census_take(&after)) return 1;
    return save("scaled.pb", ambit_census_write_pprof, after);
}
C
# shellcheck disable=SC2046
gcc -g -I"$root/include" hostile.c "$build/libambit.a" \
    $(pkg-config --libs jemalloc liburcu-cds liburcu-memb) -lpthread -o hostile
timeout 60 ./hostile

python3 - <<'PYTHON'
import json
names = [('quote".c', 'back\\slash', 1), ('line\nbreak\t.c', '\x01\x1f\x7f', 2),
         ('\ufffd\ufffd.c', 'latin\ufffd', 3), ('\xe4\u20ac\U0001f600.c', 'utf8', 4),
         ('\ufffd\ufffd\ufffd.c', 'surrogate', 5), ('', 'empty', 6), ('</script>', '%s%n', 4294967295)]
def read(name):
    return json.loads(open(name, 'rb').read().decode('utf-8', 'strict'))
census = read('census.json')
assert set(census) == {'version', 'rows'} and census['version'] == 1
fields = {'kind': str, 'file': str, 'function': str, 'age': str, 'line': int, 'count': int, 'bytes': int,
          'zombies': int, 'long_lived': int, 'oldest_ns': int}
seen = {}
for row in census['rows']:
    assert {name: type(value) for name, value in row.items()} == fields, row
    seen[row['file'], row['function'], row['line']] = row['count'], row['bytes']
assert seen == {name: (3, 30 * i) for i, name in enumerate(names)}, seen
growth = read('growth.json')
assert set(growth) == {'version', 'growth'} and growth['version'] == 1
fields = {'kind': str, 'file': str, 'function': str, 'line': int, 'count_before': int, 'count_after': int,
          'bytes_before': int, 'bytes_after': int}
assert len(growth['growth']) == len(names)
for row in growth['growth']:
    assert {name: type(value) for name, value in row.items()} == fields, row
    assert (row['count_before'], row['count_after'], row['bytes_after']) == (3, 0, 0), row
assert read('empty.json') == {'version': 1, 'rows': []}
PYTHON
[ "$(jq '[.rows[].bytes] | add' census.json)" -eq 630 ]
[ "$(jq '[.growth[].bytes_before] | add' growth.json)" -eq 630 ]

says() { # FILE, PATTERN: every extended expression is found in it
    local file=$1 pattern
    shift
    for pattern in "$@"; do
        grep -qE -- "$pattern" "$file" || { cat "$file"; echo "not in $file: $pattern"; exit 1; }
    done
}
pprof() { # OUTPUT, ARGUMENT...
    local output=$1
    shift
    go tool pprof "$@" >"$output" 2>"$output.err" || { cat "$output.err"; echo "pprof refuses: $*"; exit 1; }
}
pprof raw -raw census.pb
says raw 'objects/count space/bytes\[dflt\]' 'kind:\[context\]' 'age:\[<1s\]' 'site:\[utf8|site:\[ä' 'back\\slash' \
    '^ +3 +180: '
pprof objects -top -sample_index=objects census.pb
says objects '^Type: objects' '100% of 21 total' '3 14\.29% .* utf8$'
pprof space -top census.pb
says space '^Type: space' '100% of 630B total' '90B .* utf8$'
pprof bands -tags census.pb
says bands 'kind: Total 630' 'site: Total' '</script>:4294967295'
pprof none -raw empty.pb
pprof scaled -top -sample_index=objects scaled.pb
says scaled '100% of 3 total' '3 +100% .* main$'
pprof scaled_space -top scaled.pb
says scaled_space '100% of 300B total'

# Stacks: the whole way is there by name, what is ambit's own is not, and the sums are the census's.
timeout 60 "$build/examples/census" example.pb >example.txt
pprof traces -traces -sample_index=objects example.pb
says traces 'serve_post$' 'serve_get$' 'serve_many$' 'main$' 'kind:  context' 'site:  .*census\.c:[0-9]+$'
if grep -E 'ambit_(ctx|hold|timer)|child_of|ambit__' traces; then echo "ambit's own frames are left"; exit 1; fi
pprof top -top -sample_index=objects example.pb
says top '100% of 241 total'
pprof top_space -top -unit=b example.pb
says top_space '100% of 820000B total'
says example.txt '^context +<1s +220 +820000 +20 ' '^hold +\+10 ' '^    #0 ' 'context slow callback: .*, returned, ' \
    'context crowded: 220 \(limit 50\)' '^overdue: 200 reported, 0 returned$'
