/* A pool in a process that forks beside threads that use it. */
#include "build.h"
#include "ctxs.h"

#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/pool.h"

enum { BUSY_THREADS = 2, FORKS = 200, AT_ONCE = 90 };

struct object {
    uint64_t first, body[30], last;
};

static int construct(void *memory, void *user) {
    (void)user;
    struct object *object = memory;
    *object = (struct object){.first = 7, .last = 7};
    return 0;
}

static ambit_pool *open_pool(void) {
    ambit_pool_options options = {
        .object_bytes = sizeof(struct object), .construct = construct, .trim_ns = AMBIT_NEVER};
    ambit_pool *pool = NULL;
    assert_ok(ambit_pool_open(&options, &pool));
    return pool;
}

/* Whether all that the pool gives is different objects, each constructed. */
static int use(ambit_pool *pool) {
    struct object *objects[AT_ONCE];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < AT_ONCE; i++) {
            objects[i] = ambit_pool_get(pool);
            if (!objects[i]) return 1;
            if (objects[i]->first != 7 || objects[i]->last != 7) return 2;
            objects[i]->last = 8;
        }
        for (int i = 0; i < AT_ONCE; i++) {
            objects[i]->last = 7;
            ambit_pool_put(pool, objects[i]);
        }
    }
    return 0;
}

static _Atomic(int) stop;
static void *busy(void *pool) {
    while (!atomic_load(&stop)) must(!use(pool));
    return NULL;
}

/* Visits all magazines, again and again. */
static void *visit(void *pool) {
    while (!atomic_load(&stop)) (void)ambit_pool_trim(pool);
    return NULL;
}

static int magazines_of_this_thread(const ambit_pool *pool) {
    int count = 0;
    for (const ambit__cartridge *at = pool->cartridges; at; at = at->next)
        count += at->local == &ambit__pools_of_thread;
    return count;
}

/* All that was free is there, and what others had out stays out. */
static int child(ambit_pool *pool, const void *mine) {
    ambit_pool_stats before, after;
    ambit_pool_stats_read(pool, &before);
    if (before.out < 1 || before.out > 1 + BUSY_THREADS * AT_ONCE) return 10;
    int wrong = use(pool);
    if (wrong) return wrong;
    ambit_pool_stats_read(pool, &after);
    if (after.out != before.out) return 11;
    if (magazines_of_this_thread(pool) != 1) return 19;
    if (after.constructed - before.constructed > AT_ONCE) return 12;
    if (living(AMBIT_KIND_OBJECT) != after.out) return 13;
    ambit_pool_put(pool, (void *)(uintptr_t)mine);
    ambit_pool_stats_read(pool, &after);
    if (after.out != before.out - 1) return 14;
    if (ambit_pool_trim(pool) != after.free) return 15;
    pthread_t thread;
    if (pthread_create(&thread, NULL, busy, pool)) return 16;
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    ambit_pool *fresh = NULL;
    ambit_pool_options options = {.object_bytes = 8};
    if (ambit_pool_open(&options, &fresh)) return 17;
    ambit_pool_put(fresh, ambit_pool_get(fresh));
    return ambit_pool_close(&fresh) ? 18 : 0;
}

static void forks_beside_gets_and_puts(void **state) {
    (void)state;
    /* Their allocators may be locked for ever in the child, and ThreadSanitizer wants no threads there. */
    if (BUILD_SANITIZED) skip();
    ambit_pool *pool = open_pool();
    pthread_t threads[BUSY_THREADS], visitor;
    atomic_store(&stop, 0);
    assert_int_equal(pthread_create(&visitor, NULL, visit, pool), 0);
    for (int i = 0; i < BUSY_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, busy, pool), 0);
    void *mine = ambit_pool_get(pool);
    for (int i = 0; i < FORKS; i++) {
        ambit_pool_put(pool, ambit_pool_get(pool)); /* so that there is something to visit */
        pid_t pid = fork();
        if (!pid) {
            alarm(60);
            _exit(child(pool, mine));
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < BUSY_THREADS; i++) pthread_join(threads[i], NULL);
    pthread_join(visitor, NULL);
    ambit_pool_put(pool, mine);
    assert_ok(ambit_pool_close(&pool));
}

/* The age of what is out is right in a child, where nobody renews the time. */
static void ages_go_on_in_a_child(void **state) {
    (void)state;
    if (BUILD_SANITIZED) skip();
    ambit_pool *pool = open_pool();
    void *object = ambit_pool_get(pool);
    ambit_pool_put(pool, object);
    pid_t pid = fork();
    if (!pid) {
        usleep(300000);
        object = ambit_pool_get(pool);
        ambit_census *census;
        if (!object || ambit_census_take(&census)) _exit(1);
        for (size_t i = 0; i < ambit_census_rows(census); i++)
            if (ambit_census_row_at(census, i)->kind == AMBIT_KIND_OBJECT)
                _exit(ambit_census_row_at(census, i)->oldest_ns > 200 * AMBIT_MILLISECOND);
        _exit(2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_ok(ambit_pool_close(&pool));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forks_beside_gets_and_puts),
        cmocka_unit_test(ages_go_on_in_a_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
