/* Object pools between threads: who ends, who rests, who puts what another got. */
#include "pools.h"

#include <pthread.h>
#include <stdlib.h>

static void *get_and_end(void *argument) {
    ambit_pool *pool = argument;
    for (int round = 0; round < 3; round++) {
        void *objects[100];
        for (int i = 0; i < 100; i++) objects[i] = ambit_pool_get(pool);
        for (int i = 0; i < 100; i++) ambit_pool_put(pool, objects[i]);
    }
    return NULL;
}

static void thread_that_ends_hands_on(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(hooked());
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, get_and_end, pool), 0);
        pthread_join(thread, NULL);
    }
    assert_int_equal(seen.constructed, 100); /* the first one's served all */
    ambit_pool_stats stats = stats_of(pool);
    assert_int_equal(stats.free, 100);
    assert_int_equal(stats.gets, 900);
    assert_ok(ambit_pool_close(&pool));
}

static _Atomic(int) waiting_main;
static void *fill_and_wait(void *argument) {
    ambit_pool *pool = argument;
    void *objects[10];
    for (int i = 0; i < 10; i++) objects[i] = ambit_pool_get(pool);
    for (int i = 0; i < 10; i++) ambit_pool_put(pool, objects[i]);
    waiting_main = 1;
    while (waiting_main != 2) {
    }
    for (int i = 0; i < 10; i++) objects[i] = ambit_pool_get(pool);
    for (int i = 0; i < 10; i++) ambit_pool_put(pool, objects[i]);
    return NULL;
}

static void trim_reaches_other_threads(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(hooked());
    pthread_t thread;
    waiting_main = 0;
    assert_int_equal(pthread_create(&thread, NULL, fill_and_wait, pool), 0);
    while (waiting_main != 1) {
    }
    assert_int_equal(stats_of(pool).free, 10);
    assert_int_equal(ambit_pool_trim(pool), 10);
    assert_int_equal(stats_of(pool).free, 0);
    waiting_main = 2;
    pthread_join(thread, NULL);
    assert_int_equal(seen.constructed, 20);
    assert_ok(ambit_pool_close(&pool));
}

static void burst_goes_back_by_itself(void **state) {
    (void)state;
    ambit_pool_options options = hooked();
    options.trim_ns = 5 * AMBIT_MILLISECOND;
    ambit_pool *pool = open_pool(options);
    enum { BURST = 5000 };
    static void *objects[BURST];
    for (int i = 0; i < BURST; i++) assert_non_null(objects[i] = ambit_pool_get(pool));
    for (int i = 0; i < BURST; i++) ambit_pool_put(pool, objects[i]);
    int64_t deadline_ns = ambit_clock_now_ns() + 20 * AMBIT_SECOND;
    while (stats_of(pool).free && ambit_clock_now_ns() < deadline_ns) {
    }
    ambit_pool_stats stats = stats_of(pool);
    assert_int_equal(stats.free, 0);
    assert_true(stats.bytes < 20000);
    assert_ok(ambit_pool_close(&pool));
    assert_int_equal(seen.destroyed, BURST);
}

enum { ROUNDS = 20000, CELLS = 64 };
static _Atomic(void *) cells[CELLS];
static void *produce(void *argument) {
    ambit_pool *pool = argument;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t *object = ambit_pool_get(pool);
        if (!object) abort();
        object[0] = object[1] = (uint64_t)i;
        while (cells[i % CELLS]) sched_yield();
        cells[i % CELLS] = object;
    }
    return NULL;
}
static void *consume(void *argument) {
    ambit_pool *pool = argument;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t *object;
        while (!(object = atomic_exchange(&cells[i % CELLS], NULL))) sched_yield();
        if (object[0] != (uint64_t)i || object[1] != (uint64_t)i) abort();
        ambit_pool_put(pool, object);
    }
    return NULL;
}

static void one_gets_and_another_puts(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(plain());
    pthread_t producer, consumer;
    assert_int_equal(pthread_create(&producer, NULL, produce, pool), 0);
    assert_int_equal(pthread_create(&consumer, NULL, consume, pool), 0);
    pthread_join(producer, NULL);
    pthread_join(consumer, NULL);
    ambit_pool_stats stats = stats_of(pool);
    assert_int_equal(stats.gets, ROUNDS);
    assert_int_equal(stats.out, 0);
    assert_true(stats.constructed < 1000); /* bounded by what is under way, not by the traffic */
    assert_ok(ambit_pool_close(&pool));
}

static void more_pools_than_magazines(void **state) {
    (void)state;
    ambit_pool *pools[AMBIT__POOLS_FAST + 10];
    void *objects[AMBIT__POOLS_FAST + 10];
    for (int i = 0; i < AMBIT__POOLS_FAST + 10; i++) {
        pools[i] = open_pool(plain());
        objects[i] = ambit_pool_get(pools[i]);
        assert_non_null(objects[i]);
    }
    for (int i = 0; i < AMBIT__POOLS_FAST + 10; i++) {
        ambit_pool_put(pools[i], objects[i]);
        assert_ptr_equal(ambit_pool_get(pools[i]), objects[i]);
        ambit_pool_put(pools[i], objects[i]);
        assert_ok(ambit_pool_close(&pools[i]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thread_that_ends_hands_on), cmocka_unit_test(trim_reaches_other_threads),
        cmocka_unit_test(burst_goes_back_by_itself), cmocka_unit_test(one_gets_and_another_puts),
        cmocka_unit_test(more_pools_than_magazines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
