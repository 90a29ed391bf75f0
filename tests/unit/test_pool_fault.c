/* Every allocation of every call on a pool fails once: NULL or a status comes back, and nothing is lost. */
#include "suite.h"

#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"

enum { OBJECTS = 70 };

static int end(ambit_pool *pool, void **objects, int count, ambit_ctx **ctx) {
    for (int i = 0; i < count; i++) ambit_pool_put(pool, objects[i]);
    ambit_ctx_close(ctx);
    ambit_pool_stats stats;
    ambit_pool_stats_read(pool, &stats);
    if (stats.out) return 2;
    if (stats.free + stats.quarantined != stats.constructed - stats.destroyed + stats.quarantined)
        return 3;
    return ambit_pool_close(&pool) ? 4 : 0;
}

/* 0 if all went well, 1 if something was refused, more if it went wrong. */
static int scenario(void) {
    ambit_pool_options options = {.object_bytes = 100, .quarantine = 3};
    ambit_pool *pool = NULL;
    ambit_ctx *ctx = NULL;
    void *objects[OBJECTS];
    int count = 0;
    ambit_status status = ambit_pool_open(&options, &pool);
    if (status) return status == AMBIT_EMEMORY && !pool ? 1 : 5;
    bool refused = ambit_ctx_open(ambit_background(), &ctx) != AMBIT_OK;
    while (count < OBJECTS && (objects[count] = ambit_pool_get(pool))) count++;
    refused |= count < OBJECTS;
    for (int i = 0; ctx && i < 3; i++) refused |= !ambit_pool_borrow(pool, ctx);
    for (int i = 0; i < 5 && count; i++) ambit_pool_put(pool, objects[--count]);
    int wrong = end(pool, objects, count, &ctx);
    return wrong ? wrong : refused;
}

/* In a process of its own, since a call allocates more the first time. */
static int fail_one(uint64_t call, bool forever) {
    ambit__fault_arm(AMBIT__FAULT_MEMORY, call, forever);
    int outcome = scenario();
    uint64_t calls = ambit__fault_disarm(AMBIT__FAULT_MEMORY);
    if (outcome > 1) return outcome;
    if (calls <= call) return outcome ? 6 : 1;
    if (scenario()) return 7; /* with memory, all is well again */
    return 0;
}

static void each_allocation_fails(void **state) {
    (void)state;
    for (int forever = 0; forever <= 1; forever++) {
        uint64_t call = 0;
        for (int outcome = 0; !outcome; call++) {
            pid_t pid = fork();
            if (!pid) _exit(fail_one(call, forever));
            int status;
            assert_int_equal(waitpid(pid, &status, 0), pid);
            assert_true(WIFEXITED(status));
            outcome = WEXITSTATUS(status);
            assert_in_range(outcome, 0, 1);
        }
        assert_true(call > 20);
    }
}

static void without_a_thread_there_is_no_trim(void **state) {
    (void)state;
    ambit_pool_options options = {.object_bytes = 100, .trim_ns = AMBIT_MILLISECOND};
    ambit_pool *pool = NULL;
    assert_ok(ambit_pool_open(&options, &pool));
    ambit__fault_arm(AMBIT__FAULT_THREAD, 0, true);
    void *object = ambit_pool_get(pool);
    assert_non_null(object);
    ambit_pool_put(pool, object);
    (void)ambit__fault_disarm(AMBIT__FAULT_THREAD);
    assert_ok(ambit_pool_close(&pool));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_fails),
        cmocka_unit_test(without_a_thread_there_is_no_trim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
