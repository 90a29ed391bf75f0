/* What the parts of verdicts begin with: an object that a check may report. */
#ifndef AMBIT_SCHEDULE_VERDICTS_H
#define AMBIT_SCHEDULE_VERDICTS_H

#include "census/verdict.h"
#include "ctxs.h"

static const ambit_site early = {"early.c", "open_early", 1};
static ambit__entry *young;
static int64_t start_ns;
static unsigned told;

/* Only `kind` is looked for. Objects go by the slab of contexts, and holds and timers there are
 * none. */
static inline void prepare(ambit_verdict_kind kind, int64_t limit) {
    for (int other = 0; other < AMBIT_VERDICT_KINDS; other++)
        ambit_verdict_limit_set((ambit_verdict_kind)other, AMBIT_VERDICT_OFF);
    ambit_verdict_limit_set(kind, limit);
    for (unsigned i = 0; i < 4; i++) {
        ambit__thread_record = NULL;
        ambit__thread *record = ambit__thread_register();
        if (i < 3) crew[i] = record;
    }
    start_ns = ambit__clock_coarse();
    young = ambit__slab_get(&ambit__slab_ctx, AMBIT_KIND_CTX, crew[0]);
    ambit__slab_born(young, &early, start_ns);
}
static inline void put_young(void) {
    ambit__slab_put(&ambit__slab_ctx, AMBIT_KIND_CTX, ambit__thread_record, young);
}
static inline ambit_verdict_counts counts_of(ambit_verdict_kind kind) {
    ambit_verdict_counts counts = ambit_verdict_counts_read(kind);
    ambit_schedule_assert(counts.returned <= counts.reported);
    return counts;
}

#endif
