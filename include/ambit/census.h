/* The census: who holds what, since when, how much, from which line — while the program runs.
 *
 * Every context, hold and timer lives in memory that stays readable and of its type, and so does an
 * object of a pool while anyone walks. A walk reads it beside any load: it takes no lock that a fast
 * call takes, and never reads freed memory. What is opened or closed while it walks may be seen or
 * not; all that stays is seen once.
 *
 *     ambit_census *before, *after;
 *     ambit_census_take(&before); ... ambit_census_take(&after);
 *     ambit_census_write_growth(before, after, ambit_write_to_file, stderr);
 *
 * A snapshot belongs to its caller and may be read by any number of threads. */
#ifndef AMBIT_CENSUS_H
#define AMBIT_CENSUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "ambit/site.h"
#include "ambit/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ambit_kind {
    AMBIT_KIND_CTX = 0,
    AMBIT_KIND_HOLD = 1,
    AMBIT_KIND_TIMER = 2,
    AMBIT_KIND_OBJECT = 3 /* of a pool, and out */
} ambit_kind;
#define AMBIT_KIND_COUNT 4
const char *ambit_kind_name(ambit_kind kind);

/* Age bands: under 1 s, 10 s, 1 min, 10 min, 1 h, and older. */
#define AMBIT_AGE_BANDS 6
const char *ambit_age_band_name(unsigned band);

/* One row: all objects of one kind, opened at one line, in one age band. */
typedef struct ambit_census_row {
    ambit_kind kind;
    const ambit_site *site;
    unsigned age_band;
    uint64_t count;
    uint64_t bytes;      /* owned by the objects, not the objects themselves */
    uint64_t zombies;    /* closed but still kept */
    uint64_t long_lived; /* marked so */
    int64_t oldest_ns;   /* age of the oldest */
} ambit_census_row;

typedef struct ambit_census ambit_census;

/* Takes a snapshot. `*out` is NULL on failure. Thread: any. Blocks: no. Owns: the caller must free
 * it. Returns AMBIT_OK, AMBIT_EMEMORY. */
AMBIT_MUST_CHECK ambit_status ambit_census_take(ambit_census **out);
/* NULL is fine. Cannot fail. */
void ambit_census_free(ambit_census *census);

size_t ambit_census_rows(const ambit_census *census);
/* The rows are sorted: most bytes first, then most objects. NULL past the end. */
const ambit_census_row *ambit_census_row_at(const ambit_census *census, size_t index);
/* All objects of a kind, whatever the site and age. */
uint64_t ambit_census_count(const ambit_census *census, ambit_kind kind);
uint64_t ambit_census_bytes(const ambit_census *census, ambit_kind kind);

/* ---- Levels ---------------------------------------------------------------------------------- */

typedef enum ambit_level {
    AMBIT_LEVEL_SITES = 0,   /* the line of each object: always on, and the level at the start */
    AMBIT_LEVEL_SAMPLED = 1, /* and the stack of one object in `mean`, at random */
    AMBIT_LEVEL_EVERY = 2    /* and the stack of every object */
} ambit_level;

/* Living objects with a stack, at most: 16 MiB, taken as needed. */
#define AMBIT_STACKS_MAX 65536

/* Sets the level for what is opened from now on, on all threads; what lives keeps its stack. `mean`
 * is for AMBIT_LEVEL_SAMPLED only, where 1 is the same as AMBIT_LEVEL_EVERY.
 * Thread: any. Blocks: the first time, to load the unwinder. Returns AMBIT_OK, AMBIT_EINVALID (a
 * mean of 0, or another level), AMBIT_EMEMORY: the level is as before. */
AMBIT_MUST_CHECK ambit_status ambit_census_level_set(ambit_level level, uint32_t mean);
/* `*mean` is 0 at AMBIT_LEVEL_SITES; NULL is fine. Thread: any. Blocks: no. Cannot fail. */
ambit_level ambit_census_level(uint32_t *mean);

typedef struct ambit_stack_counts {
    uint64_t live;   /* in use now */
    uint64_t taken;  /* since the start */
    uint64_t missed; /* it was an object's turn, and there was no room, no memory or no stack */
} ambit_stack_counts;
/* Thread: any. Blocks: no. Cannot fail. */
void ambit_stack_counts_read(ambit_stack_counts *counts);

/* ---- Writing --------------------------------------------------------------------------------- */

/* Takes `length` bytes of text; anything but 0 stops the report, which then is AMBIT_EWRITE. */
typedef int ambit_writer(const char *text, size_t length, void *user);
int ambit_write_to_file(const char *text, size_t length, void *file); /* a FILE * */

/* All of them: Thread: any. Blocks: as the writer does. Owns: nothing. Return AMBIT_OK,
 * AMBIT_EWRITE (the writer is not called again), and all but text and json AMBIT_EMEMORY. The
 * formats and their fields are in docs/census.md. */
AMBIT_MUST_CHECK ambit_status ambit_census_write_text(const ambit_census *census,
                                                      ambit_writer *write, void *user);
AMBIT_MUST_CHECK ambit_status ambit_census_write_json(const ambit_census *census,
                                                      ambit_writer *write, void *user);

/* The stacks that were taken, below the row they belong to, as addresses in files, with offsets for
 * addr2line. Writes nothing where none were taken. */
AMBIT_MUST_CHECK ambit_status ambit_census_write_stacks(const ambit_census *census,
                                                        ambit_writer *write, void *user);

/* For `go tool pprof`: profile.proto, not compressed, so that the bytes are not text. Counts and
 * bytes are the census's own, exact; where stacks were taken, how they are spread over stacks is an
 * estimate. */
AMBIT_MUST_CHECK ambit_status ambit_census_write_pprof(const ambit_census *census,
                                                       ambit_writer *write, void *user);

/* What there is more of in `after` than in `before`, and less, by kind and site over all ages: most
 * growth first, most shrinking last. What has not changed is left out. */
AMBIT_MUST_CHECK ambit_status ambit_census_write_growth(const ambit_census *before,
                                                        const ambit_census *after,
                                                        ambit_writer *write, void *user);
AMBIT_MUST_CHECK ambit_status ambit_census_write_growth_json(const ambit_census *before,
                                                             const ambit_census *after,
                                                             ambit_writer *write, void *user);

/* ---- Verdicts -------------------------------------------------------------------------------- */

typedef enum ambit_verdict_kind {
    AMBIT_VERDICT_OVERDUE = 0, /* open past its deadline by more than the limit (ns) */
    AMBIT_VERDICT_ZOMBIE = 1,  /* closed, and still kept, for longer than the limit (ns) */
    /* a context or hold is open, or an object out, for longer than the limit (ns), and neither it nor
     * what it holds is marked long-lived */
    AMBIT_VERDICT_OLD = 2,
    AMBIT_VERDICT_LARGE = 3, /* owns more bytes than the limit */
    /* a cancel callback runs, or ran since the last check, for longer than the limit (ns) */
    AMBIT_VERDICT_SLOW_CALLBACK = 4,
    AMBIT_VERDICT_DEEP = 5,     /* has more ancestors than the limit */
    AMBIT_VERDICT_CHILDREN = 6, /* is kept by more children and holds than the limit */
    AMBIT_VERDICT_CROWDED = 7   /* a line has more living objects of one kind than the limit */
} ambit_verdict_kind;
#define AMBIT_VERDICT_KINDS 8
const char *ambit_verdict_name(ambit_verdict_kind kind);

typedef struct ambit_verdict {
    ambit_verdict_kind kind;
    ambit_kind object;
    const ambit_site *site;   /* where it was opened, or for a slow callback: registered */
    const ambit_site *closed; /* where a zombie was closed, else NULL */
    const ambit_site
        *keeper;      /* one who keeps a zombie: a hold's line, or a child's; NULL if gone */
    int64_t age_ns;   /* of the object, or of the oldest of a crowd */
    uint64_t bytes;   /* of the object, or of the whole crowd */
    int64_t measured; /* what was compared with the limit */
    int64_t limit;
    bool ended; /* a slow callback that has returned already */
} ambit_verdict;

#define AMBIT_VERDICT_OFF INT64_MAX
/* Sets the limit above which a verdict of this kind is given, at run time; AMBIT_VERDICT_OFF for
 * never. At the start: overdue 1 s, zombie 10 s, old 10 min, large 1 MiB, slow callback 100 ms,
 * deep 64, children and crowded off. Another number than a kind's is a bug of the caller.
 * Thread: any. Blocks: no. Cannot fail. */
void ambit_verdict_limit_set(ambit_verdict_kind kind, int64_t limit);
int64_t ambit_verdict_limit(ambit_verdict_kind kind);

/* Called on the thread that checks. It may use everything but ambit_verdict_check(). */
typedef void ambit_verdict_hook(const ambit_verdict *verdict, void *user);

/* Walks once and calls `hook` for each verdict on this thread; a NULL hook only counts. An object
 * (for `crowded`: a line) is reported once for each kind, until it is back within the limit; beyond
 * it again, it is reported again. Called from inside a hook it is a bug of the caller.
 * Thread: any; one walk at a time, others wait. Blocks: as the hook does.
 * Returns how many verdicts were given. */
uint64_t ambit_verdict_check(ambit_verdict_hook *hook, void *user);

/* Reported minus returned is what still stands, by the last check. A report returns when its object
 * goes (at once), or when a check finds it within the limit: closed, marked long-lived, its
 * callback or its children through, its line less crowded, or the limit raised. A slow callback
 * returns with its end; one that was over before the check that reports it returns with the report.
 * Lost is what was beyond the limit and could not be given: callbacks that have ended, beyond 64
 * between two checks; `crowded` in checks that got no memory. */
typedef struct ambit_verdict_counts {
    uint64_t reported;
    uint64_t returned;
    uint64_t lost;
} ambit_verdict_counts;
/* Thread: any. Blocks: no. Cannot fail. */
ambit_verdict_counts ambit_verdict_counts_read(ambit_verdict_kind kind);

/* One line for a verdict, as a log would have it; always ended by NUL. Returns the full length, as
 * snprintf does. */
int ambit_verdict_format(const ambit_verdict *verdict, char *text, size_t size);

/* Starts the watcher, a thread that checks every `period_ns` (at least 1 ms) and calls the hook.
 * There is one for the process; starting it again changes period and hook at once. From inside the
 * hook it does that too, and takes back a stop that the hook has asked for, but not another
 * thread's. A child of fork() has none until it starts one, unless the hook itself has forked.
 * Thread: any. Blocks: from outside, for a hook that has asked for a stop and still runs.
 * Returns AMBIT_OK, AMBIT_EINVALID, AMBIT_ETHREAD. */
AMBIT_MUST_CHECK ambit_status ambit_watcher_start(int64_t period_ns, ambit_verdict_hook *hook,
                                                  void *user);
/* Stops it, and waits until the hook has returned; from inside the hook it only asks. Idempotent.
 */
void ambit_watcher_stop(void);

#ifdef __cplusplus
}
#endif
#endif
