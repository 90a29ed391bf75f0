/* storm: everything that may run beside everything, on a few shared contexts.
 *
 * Threads open, cancel, close, hold, drop, register and take back callbacks, read values, merge,
 * detach, sleep and ask for descriptors, on contexts that they find in a handful of shared slots;
 * one more thread walks the census all the while. The promises that are checked at every step:
 *   - after cancel has returned, err is set, and never goes back;
 *   - a callback runs exactly once; removed means never, close means it has run;
 *   - a value is whole as long as the context is held, also after its close;
 *   - destructors run exactly once, and in the end nothing is left: no object, no byte, no timer.
 * Targeted interleaving: a callback that another thread ran between on_cancel and off_cancel.
 *
 * The mutant forgets to drop one hold in 256: the books at the end must show it. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "ambit.h"
#include "oracle.h"

enum { THREADS = 4, SLOTS = 6, OWNED = 12, CANARY = 0x5ca1ab1e };

typedef struct payload {
    uint64_t number, check;
} payload;
AMBIT_KEY(payload_key, payload);

typedef struct own { /* a context of this thread's, with its callback */
    ambit_ctx *ctx;
    ambit_cancel node;
    unsigned runs; /* atomic by built-in: the canceller's thread adds */
} own;

static struct slot {
    pthread_mutex_t lock;
    ambit_hold *hold;
} slots[SLOTS];

static double until;
static uint32_t stop; /* these are atomic by built-in, relaxed: they must order nothing */
static uint64_t made, destroyed, deferred, deferred_run, broken, steps, walks;

static void add(uint64_t *counter) { __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }
static uint64_t read_counter(const uint64_t *counter) {
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}
static void check(bool promise) {
    if (!promise) add(&broken);
}

/* ---- What contexts carry --------------------------------------------------------------------- */

static void payload_destroy(void *value) {
    payload *payload = value;
    check(payload->check == (payload->number ^ CANARY));
    memset(payload, 0, sizeof *payload);
    free(payload);
    add(&destroyed);
}

static void deferred_function(void *argument) { add(argument); }

static void fill(ambit_ctx *ctx, uint64_t number) {
    payload *payload = malloc(sizeof *payload);
    ORACLE_NEED(payload);
    payload->number = number;
    payload->check = number ^ CANARY;
    ORACLE_NEED(!ambit_ctx_own(ctx, &payload_key, payload, sizeof *payload, payload_destroy));
    add(&made);
    ORACLE_NEED(!ambit_ctx_defer(ctx, deferred_function, &deferred_run));
    add(&deferred);
}

static void on_end(ambit_ctx *ctx, void *argument) {
    check(ambit_ctx_err(ctx) != AMBIT_OK && ambit_ctx_cause(ctx).code != AMBIT_OK);
    __atomic_fetch_add((unsigned *)argument, 1, __ATOMIC_RELAXED);
}

/* ---- Slots ----------------------------------------------------------------------------------- */

static ambit_hold *take_hold(struct slot *slot) {
    ambit_hold *mine = NULL;
    pthread_mutex_lock(&slot->lock);
    if (slot->hold) ORACLE_NEED(!ambit_ctx_hold(ambit_hold_ctx(slot->hold), &mine));
    pthread_mutex_unlock(&slot->lock);
    return mine;
}

static void publish(struct slot *slot, ambit_hold *hold) {
    pthread_mutex_lock(&slot->lock);
    ambit_hold *before = slot->hold;
    slot->hold = hold;
    pthread_mutex_unlock(&slot->lock);
    ambit_ctx_drop(&before);
}

static void drop(ambit_hold **hold, uint64_t bits) {
#if WRONG
    if (!(bits % 256)) return;
#endif
    (void)bits;
    ambit_ctx_drop(hold);
}

/* ---- Steps ----------------------------------------------------------------------------------- */

static void open_one(own *own, ambit_ctx *parent, ambit_ctx *other, uint64_t bits) {
    ambit_status status;
    int64_t soon = (int64_t)(bits >> 32) % (2 * AMBIT_MILLISECOND);
    switch (bits % 5) {
    case 0:
        status = ambit_ctx_open_timeout(parent, soon, &own->ctx);
        break;
    case 1:
        status = ambit_ctx_merge(parent, other, &own->ctx);
        break;
    case 2:
        status = ambit_ctx_detach(parent, ambit_clock_now_ns() + soon, &own->ctx);
        break;
    default:
        status = ambit_ctx_open(parent, &own->ctx);
    }
    ORACLE_NEED(!status);
    fill(own->ctx, bits);
    own->runs = 0;
    status = ambit_ctx_on_cancel(own->ctx, &own->node, on_end, &own->runs);
    check(status < AMBIT_EMEMORY);
    ambit_hold *hold = NULL;
    ORACLE_NEED(!ambit_ctx_hold(own->ctx, &hold));
    publish(&slots[(bits >> 8) % SLOTS], hold);
}

static void close_one(own *own) {
    ambit_ctx_close(&own->ctx);
    check(!own->ctx && __atomic_load_n(&own->runs, __ATOMIC_RELAXED) == 1);
}

static void cancel_held(ambit_ctx *ctx) {
    ambit_ctx_cancel_value(ctx, "storm", 7);
    check(ambit_ctx_err(ctx) != AMBIT_OK);
    ambit_cause first = ambit_ctx_cause(ctx);
    ambit_ctx_cancel(ctx, "again");
    ambit_cause second = ambit_ctx_cause(ctx);
    check(first.code != AMBIT_OK && first.text && first.text == second.text &&
          first.site == second.site && first.value == second.value);
}

static void register_and_take_back(ambit_ctx *ctx) {
    ambit_cancel node;
    unsigned runs = 0;
    ambit_status before = ambit_ctx_err(ctx);
    ambit_status status = ambit_ctx_on_cancel(ctx, &node, on_end, &runs);
    sched_yield();
    if (status != AMBIT_OK) { /* it has run, and there is nothing to take back */
        check(status < AMBIT_EMEMORY && __atomic_load_n(&runs, __ATOMIC_RELAXED) == 1);
        return;
    }
    check(before == AMBIT_OK);
    ambit_removal removal = ambit_ctx_off_cancel(ctx, &node);
    check(__atomic_load_n(&runs, __ATOMIC_RELAXED) == (removal == AMBIT_REMOVED ? 0 : 1));
    if (removal == AMBIT_ALREADY_RAN) oracle_hit();
}

static void read_value(ambit_ctx *ctx) {
    const payload *payload = ambit_ctx_get(ctx, &payload_key);
    check(payload && payload->check == (payload->number ^ CANARY));
}

static void one_step(own *owned, uint64_t *random) {
    uint64_t bits = oracle_random(random), more = oracle_random(random);
    ambit_hold *hold = take_hold(&slots[bits % SLOTS]);
    ambit_hold *other = take_hold(&slots[(bits >> 4) % SLOTS]);
    ambit_ctx *ctx = hold ? ambit_hold_ctx(hold) : ambit_background();
    own *own = &owned[(bits >> 8) % OWNED];
    int fd;
    if (!hold || (bits >> 16) % 4 == 0) {
        /* One in 16 starts from the root, so that chains stay short. */
        if (own->ctx) close_one(own);
        open_one(own, more % 16 ? ctx : ambit_background(),
                 other ? ambit_hold_ctx(other) : ambit_background(), more);
    } else {
        switch ((bits >> 18) % 8) {
        case 0:
            cancel_held(ctx);
            break;
        case 1:
            if (own->ctx) close_one(own);
            break;
        case 2:
            check(ambit_ctx_sleep(ctx, 20 * AMBIT_MICROSECOND) < AMBIT_EMEMORY);
            break;
        case 3:
            if (more % 16 == 0) check(ambit_ctx_fd(ctx, &fd) < AMBIT_EMEMORY && fd >= 0);
            break;
        case 4:
        case 5:
            read_value(ctx);
            break;
        default:
            register_and_take_back(ctx);
        }
    }
    if (hold) drop(&hold, more >> 40);
    if (other) drop(&other, more >> 52);
    add(&steps);
}

static void *work(void *argument) {
    uint64_t random = oracle_seed() + (uintptr_t)argument;
    own owned[OWNED] = {0};
    while (oracle_now() < until)
        for (unsigned n = 0; n < 16; n++) one_step(owned, &random);
    for (unsigned at = 0; at < OWNED; at++)
        if (owned[at].ctx) close_one(&owned[at]);
    return NULL;
}

static uint64_t objects_left(void) {
    ambit_census *census = NULL;
    uint64_t left = 0;
    ORACLE_NEED(!ambit_census_take(&census));
    for (int kind = 0; kind < AMBIT_KIND_COUNT; kind++)
        left += ambit_census_count(census, (ambit_kind)kind);
    left += ambit_census_bytes(census, AMBIT_KIND_CTX);
    ambit_census_free(census);
    return left;
}

static void *walk(void *nothing) {
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        (void)objects_left();
        add(&walks);
        sched_yield();
    }
    return nothing;
}

int main(int argc, char **argv) {
    oracle_start(argc, argv);
    pthread_t threads[THREADS], walker;
    for (unsigned at = 0; at < SLOTS; at++) pthread_mutex_init(&slots[at].lock, NULL);
    until = oracle_now() + oracle_seconds();
    ORACLE_NEED(!pthread_create(&walker, NULL, walk, NULL));
    for (uintptr_t at = 0; at < THREADS; at++)
        ORACLE_NEED(!pthread_create(&threads[at], NULL, work, (void *)at));
    for (unsigned at = 0; at < THREADS; at++) pthread_join(threads[at], NULL);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(walker, NULL);
    for (unsigned at = 0; at < SLOTS; at++) publish(&slots[at], NULL);
    ambit_timer_stats timers;
    ambit_timer_stats_read(&timers);
    ambit_timer_stop();
    uint64_t left = objects_left(), bad = read_counter(&broken);
    bool even = read_counter(&made) == read_counter(&destroyed) &&
                read_counter(&deferred) == read_counter(&deferred_run);
    bool good = !bad && !left && even && !timers.armed;
    ORACLE_END(
        WRONG ? !good : good,
        "%llu steps, %llu walks; %llu promises broken, %llu left over, %llu of %llu destroyed",
        (unsigned long long)read_counter(&steps), (unsigned long long)read_counter(&walks),
        (unsigned long long)bad, (unsigned long long)left,
        (unsigned long long)read_counter(&destroyed), (unsigned long long)read_counter(&made));
}
