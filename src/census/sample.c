/* Which objects get a stack: one in `mean`, with distances drawn from a geometric distribution, so
 * that no rhythm of the program is favoured. */
#include "base/unwind.h"
#include "census/slab.h"
#include "census/stack.h"

enum { OWN_FRAMES = 1 }; /* of this file, below the caller's */

struct ambit__sampling ambit__sampling;

static _Thread_local struct {
    uint32_t mean; /* that `skip` was drawn for */
    uint64_t skip; /* so many births are passed over */
    uint64_t random;
    bool busy; /* a stack is being taken: births inside, by an allocation hook, get none */
} sampler __attribute__((tls_model("initial-exec")));

static _Atomic(uint64_t) seeds, captured, missed;

/* Splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(void) {
    if (!sampler.random) sampler.random = ambit__add_relaxed(&seeds, 1) << 32 | 1;
    uint64_t z = sampler.random += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* ln((1 + t) / (1 - t)) for 0 <= t <= 1/3, to 13 digits. */
static double log_of_ratio(double t) {
    double sum = 0, power = t;
    for (int k = 1; k < 28; k += 2) {
        sum += power / k;
        power *= t * t;
    }
    return 2 * sum;
}

uint64_t ambit__sample_skip(uint32_t mean, uint64_t random) {
    if (mean <= 1) return 0;
    /* u, in (0, 1], is `drawn` / 2^53, and drawn = m * 2^exponent with m in [1, 2). */
    uint64_t drawn = (random >> 11) + 1;
    int exponent = 63 - __builtin_clzll(drawn);
    double m = (double)drawn / (double)(UINT64_C(1) << exponent);
    double minus_log_u = (53 - exponent) * 0.69314718055994530942 - log_of_ratio((m - 1) / (m + 1));
    double minus_log_miss = log_of_ratio(1 / (2.0 * mean - 1)); /* -ln(1 - 1 / mean) */
    return minus_log_u > 0 ? (uint64_t)(minus_log_u / minus_log_miss) : 0;
}

/* Inlined even without optimisation, so that the frames to leave out are always as many. */
__attribute__((always_inline)) static inline void take_stack(ambit__entry *entry, uint32_t mean) {
    uintptr_t frames[AMBIT__STACK_FRAMES + OWN_FRAMES];
    uint32_t number = ambit__stack_get();
    unsigned depth = number ? ambit__unwind(frames, AMBIT__STACK_FRAMES + OWN_FRAMES) : 0;
    if (depth <= OWN_FRAMES) {
        if (number) ambit__stack_put(number);
        ambit__add_relaxed(&missed, 1);
        return;
    }
    ambit__stack_write(number, frames + OWN_FRAMES, depth - OWN_FRAMES, mean);
    /* Releases pair with the acquires in snapshot.c, of walks that still take this for the object that
     * was here before: who sees the number sees the chunk with the stack, and who sees the mark sees
     * the number and the stack's version. */
    ambit__store_release(&entry->stack, number);
    ambit__store_release(&entry->marks, AMBIT__MARK_SAMPLED);
    ambit__add_relaxed(&captured, 1);
}

__attribute__((noinline)) void ambit__slab_sample(ambit__entry *entry) {
    uint32_t mean = ambit__load_relaxed(&ambit__sampling.mean);
    if (!mean || sampler.busy) return;
    if (sampler.mean != mean) { /* the level was changed, or this thread is new */
        sampler.mean = mean;
        sampler.skip = ambit__sample_skip(mean, next_random());
    }
    if (sampler.skip) {
        sampler.skip--;
        return;
    }
    sampler.skip = ambit__sample_skip(mean, next_random());
    sampler.busy = true;
    take_stack(entry, mean);
    sampler.busy = false;
}

/* ---- The level ------------------------------------------------------------------------------- */

ambit_status ambit_census_level_set(ambit_level level, uint32_t mean) {
    if (level != AMBIT_LEVEL_SAMPLED) mean = 1;
    if ((unsigned)level > AMBIT_LEVEL_EVERY || !mean) return AMBIT_EINVALID;
    if (level == AMBIT_LEVEL_SITES) {
        ambit__store_relaxed(&ambit__sampling.mean, 0);
        return AMBIT_OK;
    }
    ambit__census_ready();
    uint32_t first = ambit__stack_get(); /* has the memory for the first ones taken here */
    if (!first && !ambit__stacks_live()) return AMBIT_EMEMORY;
    if (first) ambit__stack_put(first);
    ambit__unwind_prepare();
    ambit__store_relaxed(&ambit__sampling.mean, mean);
    return AMBIT_OK;
}

ambit_level ambit_census_level(uint32_t *mean) {
    uint32_t now = ambit__load_relaxed(&ambit__sampling.mean);
    if (mean) *mean = now;
    return !now ? AMBIT_LEVEL_SITES : now == 1 ? AMBIT_LEVEL_EVERY : AMBIT_LEVEL_SAMPLED;
}

void ambit_stack_counts_read(ambit_stack_counts *counts) {
    counts->live = ambit__stacks_live();
    counts->taken = ambit__load_relaxed(&captured);
    counts->missed = ambit__load_relaxed(&missed);
}
