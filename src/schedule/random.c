/* The strategies that a seed decides: random, PCT, and the mix of both.
 *
 * PCT (Burckhardt, Kothari, Musuvathi, Nagarakatte: A Randomized Scheduler with Probabilistic
 * Guarantees of Finding Bugs, ASPLOS 2010): each thread gets a random priority above d; the one
 * with the highest runs. At d - 1 steps, chosen at random among k, the thread that would run falls
 * to priority d - i at the i-th. A bug that needs d orderings to go wrong shows with probability at
 * least 1 / (n k^(d-1)) a schedule, for n threads and at most k steps. Threads that spin fall below
 * all others, or the bound would be void. */
#include "schedule/inside.h"

#define DEPTH_MOST 64

static uint64_t state;
static unsigned wanted_depth = 3, depth;
static uint64_t bound_steps = 100, step;
static uint64_t change_steps[DEPTH_MOST];
static int64_t priorities[AMBIT__THREADS];
static bool known[AMBIT__THREADS];
static int64_t lowest;

/* SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t draw(void) {
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static unsigned below(unsigned count) { return (unsigned)((draw() >> 32) * count >> 32); }

void ambit__pct_set(unsigned given, uint64_t steps) {
    wanted_depth = given < DEPTH_MOST ? given : DEPTH_MOST;
    bound_steps = steps ? steps : 1;
}

/* Choices other than of threads: the surprising ones are rarer. */
static unsigned decide(ambit__decision kind, unsigned count, unsigned usual) {
    switch (kind) {
    case AMBIT__DECIDE_READ:
        return below(2) ? usual : below(count);
    case AMBIT__DECIDE_LOOP:
        return below(8) ? usual : below(8) ? 1 : 2;
    case AMBIT__DECIDE_EARLY:
        return below(4) == 0;
    case AMBIT__DECIDE_PLACE:
    case AMBIT__DECIDE_WEAK:
        return below(8) ? usual : below(count);
    default:
        return below(count);
    }
}

/* ---- Random ---------------------------------------------------------------------------------- */

static void random_begin(uint64_t seed) {
    state = seed;
    (void)draw();
}

static unsigned random_pick(uint32_t enabled, unsigned current) {
    (void)current;
    for (unsigned skip = below((unsigned)__builtin_popcount(enabled)); skip; skip--)
        enabled &= enabled - 1;
    return (unsigned)__builtin_ctz(enabled);
}

/* ---- PCT ------------------------------------------------------------------------------------- */

static void pct_begin_with(uint64_t seed, unsigned with_depth) {
    random_begin(seed);
    depth = with_depth;
    step = 0;
    lowest = 0;
    memset(known, 0, sizeof known);
    for (unsigned i = 0; i + 1 < depth; i++) change_steps[i] = 1 + (draw() >> 1) % bound_steps;
}

static void pct_begin(uint64_t seed) { pct_begin_with(seed, wanted_depth); }

static unsigned highest(uint32_t enabled) {
    unsigned best = (unsigned)__builtin_ctz(enabled);
    for (unsigned i = best; i < AMBIT__THREADS; i++) {
        if (!(enabled >> i & 1)) continue;
        if (!known[i]) {
            known[i] = true;
            priorities[i] = (int64_t)(draw() >> 16) + DEPTH_MOST;
        }
        if (priorities[i] > priorities[best]) best = i;
    }
    return best;
}

static unsigned pct_pick(uint32_t enabled, unsigned current) {
    (void)current;
    unsigned best = highest(enabled);
    step++;
    for (unsigned i = 0; i + 1 < depth; i++) {
        if (change_steps[i] != step) continue;
        priorities[best] = (int64_t)(depth - 1 - i);
        best = highest(enabled);
    }
    return best;
}

static void pct_demote(unsigned thread) {
    known[thread] = true;
    priorities[thread] = --lowest;
}

/* ---- Mixed ----------------------------------------------------------------------------------- */

static bool mixed_is_random;

static void mixed_begin(uint64_t seed) {
    /* From the seed alone, so that it can be played by itself; not from its parity, since the next
     * seeds should not take turns with anything else. */
    random_begin(seed ^ UINT64_C(0x6d69786564));
    unsigned kind = below(8);
    mixed_is_random = kind < 4;
    if (mixed_is_random)
        random_begin(seed);
    else
        pct_begin_with(seed, 1 + (kind & 3) % 3);
}

static unsigned mixed_pick(uint32_t enabled, unsigned current) {
    return mixed_is_random ? random_pick(enabled, current) : pct_pick(enabled, current);
}

const ambit__strategy ambit__strategy_random = {
    .name = "random", .begin = random_begin, .pick = random_pick, .decide = decide};
const ambit__strategy ambit__strategy_pct = {
    .name = "pct", .begin = pct_begin, .pick = pct_pick, .decide = decide, .demote = pct_demote};
const ambit__strategy ambit__strategy_mixed = {.name = "mixed",
                                               .begin = mixed_begin,
                                               .pick = mixed_pick,
                                               .decide = decide,
                                               .demote = pct_demote};
