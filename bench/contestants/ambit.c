/* ambit itself, through its public headers only. */
#include "contestant.h"

#include <pthread.h>

#include <ambit.h>

#define TIMEOUT_NS (BENCH_TIMEOUT_MS * AMBIT_MILLISECOND)

/* Every row that needs a shared context uses this one. */
static ambit_ctx *the_root;

static void open_root(void) { BENCH_REQUIRE(!ambit_ctx_open(ambit_background(), &the_root)); }

static ambit_ctx *shared_root(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_root);
    return the_root;
}

static void set_up_root(bench_thread *thread) { thread->own = shared_root(); }

/* ---- Open and close -------------------------------------------------------------------------- */

static void open_close(bench_thread *thread, uint64_t iterations) {
    ambit_ctx *root = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        ambit_ctx *ctx;
        BENCH_REQUIRE(!ambit_ctx_open(root, &ctx));
        BENCH_KEEP(ctx);
        ambit_ctx_close(&ctx);
    }
}

static void set_up_sampled(bench_thread *thread) {
    set_up_root(thread);
    BENCH_REQUIRE(!ambit_census_level_set(AMBIT_LEVEL_SAMPLED, 1000));
}
static void set_up_every_stack(bench_thread *thread) {
    set_up_root(thread);
    BENCH_REQUIRE(!ambit_census_level_set(AMBIT_LEVEL_EVERY, 1));
}

/* For --self-test: a tenth more work than is counted. */
static void open_close_tenth_more(bench_thread *thread, uint64_t iterations) {
    open_close(thread, iterations * 11);
}

static void open_close_deadline(bench_thread *thread, uint64_t iterations) {
    ambit_ctx *root = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        ambit_ctx *ctx;
        BENCH_REQUIRE(!ambit_ctx_open_timeout(root, TIMEOUT_NS, &ctx));
        BENCH_KEEP(ctx);
        ambit_ctx_close(&ctx);
    }
}

/* ---- Owned values ---------------------------------------------------------------------------- */

static void own_8(bench_thread *thread, uint64_t iterations) {
    ambit_ctx *root = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        ambit_ctx *ctx;
        BENCH_REQUIRE(!ambit_ctx_open(root, &ctx));
        for (unsigned k = 0; k < BENCH_VALUES; k++) {
            char *value = ambit_ctx_alloc(ctx, bench_value_bytes[k]);
            BENCH_REQUIRE(value);
            value[0] = 1;
            BENCH_KEEP(value);
        }
        ambit_ctx_close(&ctx);
    }
}

static void destroy(void *value) { BENCH_KEEP(value); }

static void own_8_destructors(bench_thread *thread, uint64_t iterations) {
    ambit_ctx *root = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        ambit_ctx *ctx;
        BENCH_REQUIRE(!ambit_ctx_open(root, &ctx));
        for (unsigned k = 0; k < BENCH_VALUES; k++) {
            char *value = ambit_ctx_alloc(ctx, bench_value_bytes[k]);
            BENCH_REQUIRE(value);
            value[0] = 1;
            BENCH_REQUIRE(!ambit_ctx_defer(ctx, destroy, value));
        }
        ambit_ctx_close(&ctx);
    }
}

/* ---- Reading a live context ------------------------------------------------------------------ */

static void err(bench_thread *thread, uint64_t iterations) {
    const ambit_ctx *ctx = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        ambit_status status = ambit_ctx_err(ctx);
        BENCH_KEEP(status);
    }
}

static void set_up_depth_5(bench_thread *thread) {
    ambit_ctx *ctx = shared_root();
    for (unsigned depth = 1; depth < 5; depth++) BENCH_REQUIRE(!ambit_ctx_open(ctx, &ctx));
    thread->own = ctx;
}

static void set_up_deadline(bench_thread *thread) {
    ambit_ctx *ctx;
    BENCH_REQUIRE(!ambit_ctx_open_timeout(ambit_background(), TIMEOUT_NS, &ctx));
    thread->own = ctx;
}

/* ---- Looking values up ----------------------------------------------------------------------- */

AMBIT_KEY(key_0, void *);
AMBIT_KEY(key_1, void *);
AMBIT_KEY(key_2, void *);
AMBIT_KEY(key_3, void *);
AMBIT_KEY(key_4, void *);
AMBIT_KEY(key_5, void *);
AMBIT_KEY(key_6, void *);
AMBIT_KEY(key_7, void *);
AMBIT_KEY(key_8, void *);
AMBIT_KEY(key_9, void *);

/* The first `count` keys, each by a line of its own, as a program would. */
#define EACH_KEY(count, what)                                                                      \
    do {                                                                                           \
        if ((count) > 0) what(key_0);                                                              \
        if ((count) > 1) what(key_1);                                                              \
        if ((count) > 2) what(key_2);                                                              \
        if ((count) > 3) what(key_3);                                                              \
        if ((count) > 4) what(key_4);                                                              \
        if ((count) > 5) what(key_5);                                                              \
        if ((count) > 6) what(key_6);                                                              \
        if ((count) > 7) what(key_7);                                                              \
        if ((count) > 8) what(key_8);                                                              \
        if ((count) > 9) what(key_9);                                                              \
    } while (0)

static inline void put(ambit_ctx *ctx, unsigned count) {
    void *value = ctx;
#define PUT(key) BENCH_REQUIRE(!ambit_ctx_put(ctx, &key, &value))
    EACH_KEY(count, PUT);
}

static inline void look_up(const ambit_ctx *ctx, unsigned count) {
#define LOOK_UP(key) BENCH_KEEP(ambit_ctx_get(ctx, &key))
    EACH_KEY(count, LOOK_UP);
}

static void set_up_values(bench_thread *thread, unsigned count) {
    ambit_ctx *ctx;
    BENCH_REQUIRE(!ambit_ctx_open(shared_root(), &ctx));
    put(ctx, count);
    thread->own = ctx;
}

static void set_up_1_value(bench_thread *thread) { set_up_values(thread, 1); }
static void set_up_5_values(bench_thread *thread) { set_up_values(thread, 5); }
static void set_up_10_values(bench_thread *thread) { set_up_values(thread, 10); }

static void value_1(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) look_up(thread->own, 1);
}

static void value_5(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) look_up(thread->own, 5);
}

static void value_10(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) look_up(thread->own, 10);
}

static void value_10_tenth_more(bench_thread *thread, uint64_t iterations) {
    value_10(thread, iterations * 11);
}

/* ---- A whole request ------------------------------------------------------------------------- */

static void request(bench_thread *thread, uint64_t iterations) {
    ambit_ctx *root = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        ambit_ctx *ctx;
        BENCH_REQUIRE(!ambit_ctx_open_timeout(root, TIMEOUT_NS, &ctx));
        put(ctx, 3);
        for (unsigned k = 0; k < 10; k++) BENCH_REQUIRE(!ambit_ctx_err(ctx));
        look_up(ctx, 3);
        ambit_ctx_close(&ctx);
    }
}

/* ---- Callbacks and cancellation -------------------------------------------------------------- */

static void count_call(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    ++*(uint64_t *)argument;
}

static void on_off_cancel(bench_thread *thread, uint64_t iterations) {
    ambit_ctx *root = thread->own;
    uint64_t calls = 0;
    for (uint64_t i = 0; i < iterations; i++) {
        ambit_cancel node = {0};
        BENCH_REQUIRE(!ambit_ctx_on_cancel(root, &node, count_call, &calls));
        BENCH_REQUIRE(ambit_ctx_off_cancel(root, &node) == AMBIT_REMOVED);
    }
    BENCH_REQUIRE(!calls);
}

enum { FEW = 1000, MANY = 100000 };

static void cancel_children(uint64_t iterations, unsigned count) {
    static ambit_ctx *children[MANY];
    static ambit_cancel nodes[MANY];
    for (uint64_t i = 0; i < iterations; i++) {
        ambit_ctx *root;
        uint64_t calls = 0;
        BENCH_REQUIRE(!ambit_ctx_open(ambit_background(), &root));
        for (unsigned k = 0; k < count; k++) {
            BENCH_REQUIRE(!ambit_ctx_open(root, &children[k]));
            nodes[k] = (ambit_cancel){0};
            BENCH_REQUIRE(!ambit_ctx_on_cancel(children[k], &nodes[k], count_call, &calls));
        }
        ambit_ctx_cancel(root, NULL);
        BENCH_REQUIRE(calls == count);
        for (unsigned k = 0; k < count; k++) ambit_ctx_close(&children[k]);
        ambit_ctx_close(&root);
    }
}

static void cancel_few(bench_thread *thread, uint64_t iterations) {
    (void)thread;
    cancel_children(iterations, FEW);
}

static void cancel_many(bench_thread *thread, uint64_t iterations) {
    (void)thread;
    cancel_children(iterations, MANY);
}

static void hold_drop(bench_thread *thread, uint64_t iterations) {
    ambit_ctx *root = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        ambit_hold *hold;
        BENCH_REQUIRE(!ambit_ctx_hold(root, &hold));
        BENCH_KEEP(hold);
        ambit_ctx_drop(&hold);
    }
}

/* ---- Timers ---------------------------------------------------------------------------------- */

static void fire(void *argument) {
    (void)argument;
    BENCH_REQUIRE(!"a timer of a bench fires");
}

static void arm(ambit_timer *timer, int64_t deadline_ns) {
    BENCH_REQUIRE(!ambit_timer_arm(deadline_ns, fire, NULL, timer));
}

static void set_up_pending(bench_thread *thread) {
    int64_t now_ns = ambit_clock_now_ns();
    ambit_timer timer;
    for (unsigned k = 0; k < BENCH_PENDING; k++)
        arm(&timer, now_ns + (int64_t)bench_random_ms(thread) * AMBIT_MILLISECOND);
}

static void set_up_root_and_pending(bench_thread *thread) {
    set_up_pending(thread);
    set_up_root(thread);
}

static void arm_disarm(bench_thread *thread, uint64_t iterations) {
    (void)thread;
    int64_t now_ns = 0;
    for (uint64_t i = 0; i < iterations; i++) {
        ambit_timer timer;
        if (i % BENCH_CLOCK_EVERY == 0) now_ns = ambit_clock_now_ns();
        arm(&timer, now_ns + TIMEOUT_NS);
        BENCH_REQUIRE(ambit_timer_disarm(timer) == AMBIT_DISARMED);
    }
}

static void set_up_same_timeout(bench_thread *thread) {
    ambit_timer *timers = thread->own = bench_allocate(BENCH_PENDING, sizeof *timers);
    for (unsigned k = 0; k < BENCH_PENDING; k++) arm(&timers[k], ambit_clock_now_ns() + TIMEOUT_NS);
}

static void rearm(bench_thread *thread, uint64_t iterations) {
    ambit_timer *timers = thread->own;
    int64_t now_ns = 0;
    for (uint64_t i = 0; i < iterations; i++) {
        ambit_timer *timer = &timers[bench_random_index(thread)];
        if (i % BENCH_CLOCK_EVERY == 0) now_ns = ambit_clock_now_ns();
        BENCH_REQUIRE(ambit_timer_reset(*timer, now_ns + TIMEOUT_NS));
    }
}

/* The same without ambit_timer_reset(). */
static void disarm_and_arm(bench_thread *thread, uint64_t iterations) {
    ambit_timer *timers = thread->own;
    int64_t now_ns = 0;
    for (uint64_t i = 0; i < iterations; i++) {
        ambit_timer *timer = &timers[bench_random_index(thread)];
        if (i % BENCH_CLOCK_EVERY == 0) now_ns = ambit_clock_now_ns();
        BENCH_REQUIRE(ambit_timer_disarm(*timer) == AMBIT_DISARMED);
        arm(timer, now_ns + TIMEOUT_NS);
    }
}

static const bench_row rows[] = {
    {"open-close", open_close, set_up_root, 1},
    {"open-close/again", open_close, set_up_root, 1},
    {"open-close/tenth-more", open_close_tenth_more, set_up_root, 10},
    {"open-close-stacks", open_close, set_up_root, 1},
    {"open-close-stacks/in-1000", open_close, set_up_sampled, 1},
    {"open-close-stacks/every", open_close, set_up_every_stack, 1},
    {"open-close-deadline", open_close_deadline, set_up_root, 1},
    {"open-close-deadline-100k", open_close_deadline, set_up_root_and_pending, 1},
    {"own-8", own_8, set_up_root, 1},
    {"own-8-destructors", own_8_destructors, set_up_root, 1},
    {"err-depth-1", err, set_up_root, 1},
    {"err-depth-5", err, set_up_depth_5, 1},
    {"err-deadline", err, set_up_deadline, 1},
    {"value-1", value_1, set_up_1_value, 1},
    {"value-5", value_5, set_up_5_values, 5},
    {"value-10", value_10, set_up_10_values, 10},
    {"value-10/again", value_10, set_up_10_values, 10},
    {"value-10/tenth-more", value_10_tenth_more, set_up_10_values, 100},
    {"request", request, set_up_root, 1},
    {"on-off-cancel", on_off_cancel, set_up_root, 1},
    {"cancel-1k", cancel_few, NULL, FEW},
    {"cancel-100k", cancel_many, NULL, MANY},
    {"hold-drop", hold_drop, set_up_root, 1},
    {"timer-arm-disarm", arm_disarm, set_up_pending, 1},
    {"timer-rearm", rearm, set_up_same_timeout, 1},
    {"timer-rearm/anew", disarm_and_arm, set_up_same_timeout, 1},
    {NULL, NULL, NULL, 0}};

int main(int argc, char **argv) { return bench_main(argc, argv, "ambit " AMBIT_VERSION, rows); }
