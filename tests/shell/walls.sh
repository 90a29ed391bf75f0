#!/usr/bin/env bash
# Only src/base/ knows time, memory, threads and atomics, and no room includes one of a floor above it,
# or one beside it. The room schedule is a library of its own: it knows them too, but no other room, and
# no other room knows it.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

# The floors, from the ground up. A new room has to be given its floor here.
declare -A floor=([schedule]=0 [base]=1 [census]=2 [timer]=3 [ctx]=4
    [counter]=5 [pool]=5 [record]=5 [cache]=5 [task]=5 [chan]=5 [lock]=6 [export]=7)

headers='#[[:space:]]*include[[:space:]]*[<"]((stdatomic|pthread|time|sys/time|threads|semaphore)\.h|urcu)'
# As a call, or handed over by its bare name.
memory='(^|[^_[:alnum:]>.])(malloc|calloc|realloc|reallocarray|free|aligned_alloc|posix_memalign|strdup|strndup)[[:space:]]*\(|[(,=][[:space:]]*free[[:space:]]*[,);]'

# The text of a file without its comments (which may well speak of free()), lines in place.
bare() {
    gcc -fpreprocessed -dD -E -x c -w "$1" 2>/dev/null | awk '
        /^# [0-9]+ "/ { want = $2; next }
        { if (want) { while (line + 1 < want) { print ""; line++ } want = 0 } print; line++ }'
}

breaches() { # FOLDER: prints what breaks a wall below it, as file:line:text
    local file room other
    while read -r file; do
        room=${file%%/*}
        if [ -z "${floor[$room]:-}" ]; then
            echo "$file:1:the room $room has no floor in tests/shell/walls.sh"
            continue
        fi
        if [ "$room" = schedule ]; then
            bare "$1/$file" | grep -nE '#[[:space:]]*include[[:space:]]*"ambit/' |
                grep -v '"ambit/schedule\.h"' | sed "s|^|$file:|" || true
        elif [ "$room" != base ]; then
            bare "$1/$file" | grep -nE "$headers|$memory" | sed "s|^|$file:|" || true
        fi
        while IFS=: read -r line other; do
            [ "$other" = "$room" ] && continue
            [ "$other" != schedule ] && [ "${floor[$other]:-99}" -lt "${floor[$room]}" ] ||
                echo "$file:$line:$room (floor ${floor[$room]}) includes $other/"
        done < <(bare "$1/$file" | sed -nE 's|^#[[:space:]]*include[[:space:]]*"([a-z_]+)/.*|\1|p;t;s|.*||p' |
            grep -nv '^$' | grep -v ':ambit$' || true)
    done < <(cd "$1" && find . -mindepth 2 -name '*.[ch]' | sed 's|^\./||' | sort)
}

# First that it can fail, and for nothing but a breach.
planted=$(mktemp -d)
trap 'rm -rf "$planted"' EXIT
mkdir "$planted"/{base,census,ctx,pool,attic,schedule}
cat >"$planted/base/fine.c" <<'C'
#include <pthread.h>
#include <urcu/urcu-memb.h>
void *f(void) { return malloc(1); }
C
cat >"$planted/ctx/fine.c" <<'C'
/* free() and
 * <time.h> are only
   spoken of: malloc(1) */
#include "ambit/ctx.h"
#include "base/clock.h"
#include "ctx/ctx.h"
void f(struct list *l) { ambit__free(l); l->free(l); } // malloc(2)
C
cat >"$planted/schedule/fine.c" <<'C'
#include <pthread.h>
#include "ambit/schedule.h"
#include "schedule/inside.h"
void *f(void) { return malloc(1); }
C
[ -z "$(breaches "$planted" || true)" ] || { breaches "$planted"; echo "the check sees what is not there"; exit 1; }
plants=0
plant() { # ROOM, LINE
    plants=$((plants + 1))
    printf '/* a\n b */\n%s\n' "$2" >"$planted/$1/plant.c"
    breaches "$planted" | grep -q "^$1/plant.c:[13]:" ||
        { echo "the check does not see in $1: $2"; exit 1; }
    rm "$planted/$1/plant.c"
}
for header in stdatomic.h pthread.h time.h threads.h urcu.h urcu/rculfhash.h urcu-call-rcu.h; do
    plant census "#include <$header>"
done
for call in 'malloc(1)' 'calloc (1, 1)' 'realloc(p, 2)' 'free(p)' 'strdup(p)' 'on_exit_do(p, free)'; do
    plant census "void *f(void *p) { return $call; }"
done
plant census '#include "ctx/ctx.h"'
plant census '#include "timer/wheel.h"'
plant base '#include "census/slab.h"'
plant pool '#include "cache/cache.h"'
plant attic 'int attic;'
plant schedule '#include "base/park.h"'
plant schedule '#include "ambit/ctx.h"'
plant base '#include "schedule/inside.h"'
plant ctx '#include "schedule/inside.h"'
echo "$plants planted breaches seen"

found=$(breaches "$root/src")
[ -z "$found" ] || { echo "$found"; exit 1; }
