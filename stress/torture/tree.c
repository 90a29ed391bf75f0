/* tree: a cancellation that runs through 1,000 levels and over 10,000 children, while they close.
 *
 * A round builds a tree (deep or wide, by turns) and arms every node. One thread cancels at the
 * top while others take callbacks back and close, each its own share. The promises:
 *   - when cancel has returned, every context that is open has ended, with the top's cause;
 *   - every callback ran exactly once, or was removed and never ran;
 *   - nothing is left after the round.
 * Targeted interleaving: in one round some callbacks were removed in time and others had run.
 *
 * The mutant cancels one below the top: what hangs on the top directly must be missed. */
#include <pthread.h>
#include <stdlib.h>

#include "ambit.h"
#include "oracle.h"

enum { DEEP = 1000, WIDE = 10000, CLOSERS = 2 };

typedef struct node {
    ambit_ctx *ctx;
    ambit_cancel cancel;
    unsigned runs; /* atomic by built-in */
} node;

static node nodes[WIDE];
static unsigned count;
static ambit_ctx *top;
static pthread_barrier_t start;
static uint64_t broken, removed, ran; /* atomic by built-in, relaxed */
static const char cause_text[] = "tree";

static void check(bool promise) {
    if (!promise) __atomic_fetch_add(&broken, 1, __ATOMIC_RELAXED);
}

static void on_end(ambit_ctx *ctx, void *argument) {
    check(ambit_ctx_err(ctx) == AMBIT_CANCELLED);
    __atomic_fetch_add((unsigned *)argument, 1, __ATOMIC_RELAXED);
}

static void build(bool deep) {
    ambit_ctx *parent = top;
    count = deep ? DEEP : WIDE;
    for (unsigned at = 0; at < count; at++) {
        node *node = &nodes[at];
        node->ctx = NULL;
        __atomic_store_n(&node->runs, 0, __ATOMIC_RELAXED);
        ORACLE_NEED(!ambit_ctx_open(parent, &node->ctx));
        ORACLE_NEED(!ambit_ctx_on_cancel(node->ctx, &node->cancel, on_end, &node->runs));
        if (deep) parent = node->ctx;
    }
}

/* Of every four nodes the closers take one each; the other two stay open through the cancel. */
static void *close_share(void *argument) {
    unsigned share = (unsigned)(uintptr_t)argument;
    pthread_barrier_wait(&start);
    for (unsigned at = share; at < count; at += 2 * CLOSERS) {
        node *node = &nodes[at];
        ambit_removal removal = ambit_ctx_off_cancel(node->ctx, &node->cancel);
        unsigned runs = __atomic_load_n(&node->runs, __ATOMIC_RELAXED);
        check(runs == (removal == AMBIT_REMOVED ? 0 : 1));
        __atomic_fetch_add(removal == AMBIT_REMOVED ? &removed : &ran, 1, __ATOMIC_RELAXED);
        ambit_ctx_close(&node->ctx);
    }
    return NULL;
}

static void play_round(bool deep, uint64_t delay) {
    pthread_t threads[CLOSERS];
    ORACLE_NEED(!ambit_ctx_open(ambit_background(), &top));
    ambit_cancel alone; /* hangs on the top itself */
    unsigned alone_runs = 0;
    ORACLE_NEED(!ambit_ctx_on_cancel(top, &alone, on_end, &alone_runs));
    build(deep);
    removed = ran = 0;
    for (uintptr_t at = 0; at < CLOSERS; at++)
        ORACLE_NEED(!pthread_create(&threads[at], NULL, close_share, (void *)at));
    pthread_barrier_wait(&start);
    for (volatile uint64_t spin = 0; spin < delay;) spin++;
    ambit_ctx_cancel(WRONG ? nodes[count - 1].ctx : top, cause_text);
    check(__atomic_load_n(&alone_runs, __ATOMIC_RELAXED) == 1);
    for (unsigned at = CLOSERS; at < count; at++) {
        if (at % (2 * CLOSERS) < CLOSERS) continue; /* closed by a closer, now or earlier */
        check(ambit_ctx_err(nodes[at].ctx) == AMBIT_CANCELLED);
        /* In a deep tree the close of an ancestor may have been the first cause. */
        check(deep || ambit_ctx_cause(nodes[at].ctx).text == cause_text);
    }
    for (unsigned at = 0; at < CLOSERS; at++) pthread_join(threads[at], NULL);
    for (unsigned at = 0; at < count; at++) {
        if (!nodes[at].ctx) continue;
        check(__atomic_load_n(&nodes[at].runs, __ATOMIC_RELAXED) == 1);
        ambit_ctx_close(&nodes[at].ctx);
    }
    ambit_ctx_close(&top);
    if (removed && ran) oracle_hit();
}

static uint64_t objects_left(void) {
    ambit_census *census = NULL;
    ORACLE_NEED(!ambit_census_take(&census));
    uint64_t left = ambit_census_count(census, AMBIT_KIND_CTX);
    ambit_census_free(census);
    return left;
}

int main(int argc, char **argv) {
    oracle_start(argc, argv);
    ORACLE_NEED(!pthread_barrier_init(&start, NULL, CLOSERS + 1));
    uint64_t random = oracle_seed(), left = 0;
    unsigned rounds = 0;
    double until = oracle_now() + oracle_seconds();
    do {
        bool deep = rounds & 1;
        play_round(deep, oracle_random(&random) % (deep ? 100000 : 1000000));
        left += objects_left();
        rounds++;
    } while (oracle_now() < until || rounds < 8);
    uint64_t bad = __atomic_load_n(&broken, __ATOMIC_RELAXED);
    bool good = !bad && !left;
    ORACLE_END(WRONG ? !good : good, "%u trees; %llu promises broken, %llu contexts left", rounds,
               (unsigned long long)bad, (unsigned long long)left);
}
