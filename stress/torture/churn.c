/* churn: threads that come and go, and leave what they opened to others.
 *
 * Each thread lives for a moment: it opens contexts under a shared one, arms timers, holds, hands
 * some of it on and exits. The thread that joined it closes and disarms. The promises:
 *   - a context may be closed, a hold dropped and a timer disarmed after its thread has exited;
 *   - a timer fires once or is disarmed, never both, never neither;
 *   - nothing is left, and the memory of later rounds is no more than that of the first ones.
 * Targeted interleaving: a close by another thread after the opener has exited.
 *
 * In the mutant one thread in 64 takes its context with it: nobody closes it. */
#include <pthread.h>
#include <stdlib.h>

#include "ambit.h"
#include "oracle.h"

enum { ALIVE = 6, WARM_ROUNDS = 16, SLACK = 1024 * 1024 };

typedef struct life {
    uint64_t random;
    ambit_ctx *root; /* borrowed: its owner joins the thread before it closes */
    ambit_ctx *ctx;  /* handed on */
    ambit_hold *hold;
    ambit_timer timer;
    unsigned fired; /* atomic by built-in */
    pthread_t thread;
} life;

static uint64_t broken; /* of the main thread, and atomic by built-in for the others */

static void check(bool promise) {
    if (!promise) __atomic_fetch_add(&broken, 1, __ATOMIC_RELAXED);
}

static void on_time(void *argument) {
    __atomic_fetch_add((unsigned *)argument, 1, __ATOMIC_RELAXED);
}

static void on_end(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    __atomic_fetch_add((unsigned *)argument, 1, __ATOMIC_RELAXED);
}

static void *live(void *argument) {
    life *life = argument;
    uint64_t bits = oracle_random(&life->random);
    unsigned runs = 0;
    ambit_cancel node;
    AMBIT_CTX_SCOPE ambit_ctx *own = NULL;
    ORACLE_NEED(!ambit_ctx_open_timeout(life->root, AMBIT_SECOND, &own));
    ORACLE_NEED(!ambit_ctx_on_cancel(own, &node, on_end, &runs));
    ORACLE_NEED(!ambit_ctx_open(life->root, &life->ctx));
    ORACLE_NEED(ambit_ctx_alloc(life->ctx, 1 + bits % 4096));
    ORACLE_NEED(!ambit_ctx_hold(life->ctx, &life->hold));
    int64_t when = ambit_clock_now_ns() + (int64_t)((bits >> 16) % (4 * AMBIT_MILLISECOND));
    ORACLE_NEED(!ambit_timer_arm(when, on_time, &life->fired, &life->timer));
    check(ambit_ctx_off_cancel(own, &node) == AMBIT_REMOVED && !runs);
    return NULL;
}

/* After the thread's end. */
static void bury(life *life) {
    ambit_disarm disarm = ambit_timer_disarm(life->timer);
    unsigned fired = __atomic_load_n(&life->fired, __ATOMIC_RELAXED);
    check(fired == (disarm == AMBIT_DISARMED ? 0 : 1));
#if WRONG
    if (!(life->random % 64)) life->ctx = NULL;
#endif
    ambit_ctx_close(&life->ctx);
    ambit_ctx_drop(&life->hold);
    oracle_hit();
}

static uint64_t objects_left(void) {
    ambit_census *census = NULL;
    uint64_t left = 0;
    ORACLE_NEED(!ambit_census_take(&census));
    for (int kind = 0; kind < AMBIT_KIND_COUNT; kind++)
        left += ambit_census_count(census, (ambit_kind)kind);
    ambit_census_free(census);
    return left;
}

static uint64_t memory_now(void) {
    ambit_memory_stats stats;
    ambit_memory_stats_read(&stats);
    return stats.live_bytes;
}

static void play_round(uint64_t *random) {
    ambit_ctx *root = NULL;
    life lives[ALIVE];
    ORACLE_NEED(!ambit_ctx_open(ambit_background(), &root));
    for (unsigned at = 0; at < ALIVE; at++) {
        lives[at] = (life){.random = oracle_random(random), .root = root};
        ORACLE_NEED(!pthread_create(&lives[at].thread, NULL, live, &lives[at]));
    }
    for (unsigned at = 0; at < ALIVE; at++) {
        pthread_join(lives[at].thread, NULL);
        bury(&lives[at]);
    }
    ambit_ctx_close(&root);
}

int main(int argc, char **argv) {
    oracle_start(argc, argv);
    uint64_t random = oracle_seed(), warm = 0, most = 0;
    unsigned rounds = 0;
    double until = oracle_now() + oracle_seconds();
    do {
        play_round(&random);
        uint64_t memory = memory_now();
        if (++rounds == WARM_ROUNDS) warm = memory;
        if (rounds >= WARM_ROUNDS && memory > most) most = memory;
    } while (oracle_now() < until || rounds < 2 * WARM_ROUNDS);
    ambit_timer_stats timers;
    ambit_timer_stats_read(&timers);
    ambit_timer_stop();
    uint64_t left = objects_left(), bad = __atomic_load_n(&broken, __ATOMIC_RELAXED);
    bool good = !bad && !left && !timers.armed && most <= warm + SLACK;
    ORACLE_END(WRONG ? !good : good,
               "%u threads; %llu promises broken, %llu objects left, memory +%llu bytes",
               rounds * ALIVE, (unsigned long long)bad, (unsigned long long)left,
               (unsigned long long)(most - warm));
}
