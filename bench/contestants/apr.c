/* The Apache Portable Runtime's pools: regions with clean-ups, no cancellation and no deadline. */
#include "contestant.h"

#include <pthread.h>

#include <apr_allocator.h>
#include <apr_general.h>
#include <apr_pools.h>
#include <apr_version.h>

/* Below the global pool, whose allocator has a mutex: pools may be created from any thread. */
static void set_up_shared(bench_thread *thread) {
    static apr_pool_t *root;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!root) BENCH_REQUIRE(!apr_pool_create(&root, NULL));
    pthread_mutex_unlock(&lock);
    thread->own = root;
}

/* The fastest way to use it: a root for each thread, with an allocator that no other one uses. */
static void set_up_own(bench_thread *thread) {
    apr_allocator_t *allocator;
    apr_pool_t *root;
    BENCH_REQUIRE(!apr_allocator_create(&allocator));
    BENCH_REQUIRE(!apr_pool_create_unmanaged_ex(&root, NULL, allocator));
    apr_allocator_owner_set(allocator, root);
    thread->own = root;
}

static void set_up_reused(bench_thread *thread) {
    apr_pool_t *pool;
    set_up_own(thread);
    BENCH_REQUIRE(!apr_pool_create(&pool, thread->own));
    thread->own = pool;
}

static void open_close(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) {
        apr_pool_t *pool;
        BENCH_REQUIRE(!apr_pool_create(&pool, thread->own));
        BENCH_KEEP(pool);
        apr_pool_destroy(pool);
    }
}

static char *allocate(apr_pool_t *pool, unsigned k) {
    char *value = apr_palloc(pool, bench_value_bytes[k]);
    BENCH_REQUIRE(value);
    value[0] = 1;
    BENCH_KEEP(value);
    return value;
}

static void own_8(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) {
        apr_pool_t *pool;
        BENCH_REQUIRE(!apr_pool_create(&pool, thread->own));
        for (unsigned k = 0; k < BENCH_VALUES; k++) allocate(pool, k);
        apr_pool_destroy(pool);
    }
}

static void own_8_reused(bench_thread *thread, uint64_t iterations) {
    apr_pool_t *pool = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        for (unsigned k = 0; k < BENCH_VALUES; k++) allocate(pool, k);
        apr_pool_clear(pool);
    }
}

static apr_status_t destroy(void *value) {
    BENCH_KEEP(value);
    return APR_SUCCESS;
}

static void own_8_destructors(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) {
        apr_pool_t *pool;
        BENCH_REQUIRE(!apr_pool_create(&pool, thread->own));
        for (unsigned k = 0; k < BENCH_VALUES; k++)
            apr_pool_cleanup_register(pool, allocate(pool, k), destroy, apr_pool_cleanup_null);
        apr_pool_destroy(pool);
    }
}

/* ---- Looking values up: user data is kept in a hash by a string ------------------------------ */

static const char *const keys[] = {"key_0", "key_1", "key_2", "key_3", "key_4",
                                   "key_5", "key_6", "key_7", "key_8", "key_9"};

static void set_up_values(bench_thread *thread, unsigned count) {
    set_up_reused(thread);
    for (unsigned k = 0; k < count; k++)
        BENCH_REQUIRE(!apr_pool_userdata_setn(thread, keys[k], NULL, thread->own));
}

static void set_up_1_value(bench_thread *thread) { set_up_values(thread, 1); }
static void set_up_5_values(bench_thread *thread) { set_up_values(thread, 5); }
static void set_up_10_values(bench_thread *thread) { set_up_values(thread, 10); }

static inline void look_up(apr_pool_t *pool, unsigned count) {
#pragma GCC unroll 10
    for (unsigned k = 0; k < count; k++) {
        void *value;
        apr_pool_userdata_get(&value, keys[k], pool);
        BENCH_KEEP(value);
    }
}

static void value_1(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) look_up(thread->own, 1);
}

static void value_5(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) look_up(thread->own, 5);
}

static void value_10(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) look_up(thread->own, 10);
}

static const bench_row rows[] = {{"open-close", open_close, set_up_shared, 1},
                                 {"open-close/own-root", open_close, set_up_own, 1},
                                 {"own-8", own_8, set_up_own, 1},
                                 {"own-8/shared", own_8, set_up_shared, 1},
                                 {"own-8/reused", own_8_reused, set_up_reused, 1},
                                 {"own-8-destructors", own_8_destructors, set_up_own, 1},
                                 {"value-1", value_1, set_up_1_value, 1},
                                 {"value-5", value_5, set_up_5_values, 5},
                                 {"value-10", value_10, set_up_10_values, 10},
                                 {NULL, NULL, NULL, 0}};

int main(int argc, char **argv) {
    BENCH_REQUIRE(!apr_initialize());
    return bench_main(argc, argv, "APR " APR_VERSION_STRING, rows);
}
