/* src/pool/open.c and trim.c, and src/timer/stamp.c: pools come beside walks, their timers beside what they
 * trim and beside the close, and the time is renewed while somebody wants it. */
#include "timers.h"

#include "base/fault.h"
#include "pool/pool.h"
#include "timer/stamp.h"

AMBIT_SCHEDULE_COVERS("pool/open.c pool/trim.c timer/stamp.c")

static ambit_pool *open_pool(int64_t trim_ns) {
    ambit_pool_options options = {.object_bytes = 8, .trim_ns = trim_ns};
    ambit_pool *pool;
    ambit_schedule_assert(!ambit_pool_open(&options, &pool));
    return pool;
}

/* ---- Opening --------------------------------------------------------------------------------- */

static unsigned seen;
static void see(ambit__slab *slab, ambit__entry *entry, void *argument) {
    (void)argument;
    ambit_schedule_assert(slab == &ambit__slab_object && ambit__load_relaxed(&entry->bytes) == 8);
    seen++;
}
static void walk(void *argument) {
    (void)argument;
    ambit__walk_begin();
    ambit__slab_walk(&ambit__slab_object, see, NULL);
    ambit__walk_end();
}
static void open_use_and_close(void *argument) {
    (void)argument;
    ambit_pool *pool = open_pool(AMBIT_NEVER);
    void *object = ambit_pool_get(pool);
    ambit_schedule_assert(object && ambit_pool_close(&pool) == AMBIT_BUSY);
    ambit_pool_put(pool, object);
    ambit_schedule_assert(!ambit_pool_close(&pool));
}
static void with_time(void *argument) {
    (void)argument;
    ambit__store_relaxed(&ambit__stamp.now_ns, 1);
}

AMBIT_SCHEDULE_TEST_WITH(pools_come_and_go_beside_a_walk, .before = with_time) {
    ambit_schedule_thread one = ambit_schedule_spawn(open_use_and_close, NULL);
    walk(NULL);
    ambit_schedule_join(one);
}

static void open_and_use(void *argument) {
    (void)ambit__thread_self(); /* before: the registry's lock must not order it */
    ambit_pool *pool = open_pool(AMBIT_NEVER);
    void *object = ambit_pool_get(pool);
    ambit_pool_put(pool, object);
    *(ambit_pool **)argument = pool;
}
/* Both have magazines of their own, and thread ends are told of both. */
AMBIT_SCHEDULE_TEST_WITH(two_open_at_once, .before = with_time) {
    static ambit_pool *pools[2];
    ambit_schedule_thread one = ambit_schedule_spawn(open_and_use, &pools[0]);
    open_and_use(&pools[1]);
    ambit_schedule_join(one);
    ambit_schedule_assert(pools[0] != pools[1]);
    ambit_schedule_assert(ambit__pool_index(pools[0]) != ambit__pool_index(pools[1]));
    ambit_schedule_assert(
        !pools[0]->cartridges); /* its thread has ended, and was told to hand it on */
    for (int i = 0; i < 2; i++) ambit_schedule_assert(!ambit_pool_close(&pools[i]));
}

/* ---- Trimming by time ------------------------------------------------------------------------ */

static void with_a_wheel(void *argument) {
    make(argument);
    with_time(argument);
}
TIMER_TEST(close_beside_the_trim, .before = with_a_wheel) {
    ambit_pool *pool = open_pool(AMBIT_MILLISECOND);
    void *object = ambit_pool_get(pool);
    ambit_pool_put(pool, object);
    ambit_schedule_assert(!ambit_pool_close(&pool));
    ambit_timer_stop();
    check_none_left();
}

static void get_and_put(void *argument) {
    void *object = ambit_pool_get(argument);
    ambit_schedule_assert(object);
    ambit_pool_put(argument, object);
}
TIMER_TEST(use_beside_the_trim, .before = with_a_wheel) {
    ambit_pool *pool = open_pool(AMBIT_MILLISECOND);
    get_and_put(pool);
    ambit_schedule_thread one = ambit_schedule_spawn(get_and_put, pool);
    get_and_put(pool);
    ambit_schedule_join(one);
    ambit_schedule_assert(!ambit_pool_close(&pool));
    ambit_timer_stop();
}

/* Each put destroys, so the timer ends when it finds nothing, and begins again with the next object. */
static size_t owns_much(const void *object, void *user) {
    (void)object;
    (void)user;
    return 1;
}
TIMER_TEST(timer_ends_and_begins_again, .before = with_a_wheel) {
    ambit_pool_options options = {
        .object_bytes = 8, .trim_ns = AMBIT_MILLISECOND, .owned = owns_much};
    ambit_pool *pool;
    ambit_schedule_assert(!ambit_pool_open(&options, &pool));
    get_and_put(pool);
    ambit_schedule_thread one = ambit_schedule_spawn(get_and_put, pool);
    get_and_put(pool);
    ambit_schedule_join(one);
    get_and_put(pool);
    ambit_schedule_assert(!ambit_pool_close(&pool));
    ambit_timer_stop();
    check_none_left();
}

/* The first one to make an object gets no thread for the timer; another one may. */
TIMER_TEST(timer_is_had_by_the_next_one, .before = with_a_wheel) {
    ambit_pool *pool = open_pool(AMBIT_MILLISECOND);
    ambit__fault_arm(AMBIT__FAULT_THREAD, 0, false);
    ambit_schedule_thread one = ambit_schedule_spawn(get_and_put, pool);
    get_and_put(pool);
    ambit_schedule_join(one);
    (void)ambit__fault_disarm(AMBIT__FAULT_THREAD);
    ambit_schedule_assert(!ambit_pool_close(&pool));
    ambit_timer_stop();
    check_none_left();
}

/* ---- The time -------------------------------------------------------------------------------- */

static void wake(void *argument) {
    (void)argument;
    ambit_schedule_assert(ambit__stamp_wake() > 0);
}
TIMER_TEST(two_want_the_time, .before = make) {
    ambit_schedule_thread one = ambit_schedule_spawn(wake, NULL);
    wake(NULL);
    ambit_schedule_join(one);
    /* It rests after a while, and can be had again. */
    while (ambit__load_relaxed(&ambit__stamp.now_ns)) ambit_schedule_yield();
    wake(NULL);
    ambit_timer_stop();
    ambit_schedule_assert(!ambit__load_relaxed(&ambit__stamp.now_ns));
}
