/* Every allocation, thread start and descriptor of every call fails once: a status comes back, and
 * nothing is kept or half done. */
#include "suite.h"

#include "base/fault.h"

AMBIT_KEY(number, int);

static void do_nothing(void *argument) { (void)argument; }
static void no_callback(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    (void)argument;
}

/* A scenario that ends with everything given back, whatever its status. */
static ambit_status scenario(void) {
    AMBIT_CTX_SCOPE ambit_ctx *root = NULL;
    AMBIT_CTX_SCOPE ambit_ctx *child = NULL;
    AMBIT_CTX_SCOPE ambit_ctx *merged = NULL;
    AMBIT_CTX_SCOPE ambit_ctx *detached = NULL;
    AMBIT_HOLD_SCOPE ambit_hold *hold = NULL;
    ambit_cancel node = {0};
    int value = 1, fd;
    ambit_status status;
    if ((status = ambit_ctx_open(ambit_background(), &root))) return status;
    if ((status = ambit_ctx_open_timeout(root, 10 * AMBIT_SECOND, &child))) return status;
    if ((status = ambit_ctx_put(child, &number, &value))) return status;
    if (!ambit_ctx_alloc(child, 10000)) return AMBIT_EMEMORY;
    if ((status = ambit_ctx_defer(child, do_nothing, NULL))) return status;
    if ((status = ambit_ctx_hold(child, &hold))) return status;
    if ((status = ambit_ctx_fd(child, &fd))) return status;
    if ((status = ambit_ctx_merge(root, child, &merged))) return status;
    if ((status = ambit_ctx_detach(child, ambit_clock_now_ns() + AMBIT_SECOND, &detached)))
        return status;
    if ((status = ambit_ctx_on_cancel(detached, &node, no_callback, NULL))) return status;
    (void)ambit_ctx_off_cancel(detached, &node);
    return AMBIT_OK;
}

static uint64_t living(void) {
    ambit_census *census = NULL;
    assert_ok(ambit_census_take(&census));
    uint64_t count = 0;
    for (int kind = 0; kind < AMBIT_KIND_COUNT; kind++)
        count += ambit_census_count(census, (ambit_kind)kind);
    ambit_census_free(census);
    return count;
}

static void fail_each(ambit__fault kind, ambit_status expected) {
    ambit__fault_arm(kind, UINT64_MAX, false);
    assert_ok(scenario());
    uint64_t calls = ambit__fault_disarm(kind);
    for (uint64_t call = 0; call < calls; call++) {
        for (int forever = 0; forever < 2; forever++) {
            ambit__fault_arm(kind, call, forever);
            assert_int_equal(scenario(), expected);
            (void)ambit__fault_disarm(kind);
            assert_int_equal(living(), 0);
        }
    }
    assert_ok(scenario());
}

static void without_memory(void **state) {
    (void)state;
    fail_each(AMBIT__FAULT_MEMORY, AMBIT_EMEMORY);
}
static void without_descriptors(void **state) {
    (void)state;
    fail_each(AMBIT__FAULT_FILES, AMBIT_EFILES);
}
static void without_threads(void **state) {
    (void)state;
    ambit_timer_stop(); /* so that the next deadline needs a thread */
    ambit__fault_arm(AMBIT__FAULT_THREAD, 0, true);
    assert_int_equal(scenario(), AMBIT_ETHREAD);
    (void)ambit__fault_disarm(AMBIT__FAULT_THREAD);
    assert_int_equal(living(), 0);
    assert_ok(scenario());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory),
        cmocka_unit_test(without_descriptors),
        cmocka_unit_test(without_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
