/* Every allocation, thread start and descriptor of every call fails once: a status comes back, and
 * nothing is kept or half done. */
#include "suite.h"

#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* In a process of its own, since a call allocates more the first time: fails the `call`th, and
 * answers 0 if that was reported and nothing is left, 1 if there was no such call. */
static int fail_one(ambit__fault kind, uint64_t call, bool forever, ambit_status expected) {
    ambit__fault_arm(kind, call, forever);
    ambit_status status = scenario();
    uint64_t calls = ambit__fault_disarm(kind);
    if (calls <= call) return status ? 2 : 1;
    if (status != expected) return 3;
    if (living() != 0) return 4;
    return scenario() ? 5 : 0;
}

static int in_child(ambit__fault kind, uint64_t call, bool forever, ambit_status expected) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) _exit(fail_one(kind, call, forever, expected));
    int wait_status = 0;
    assert_int_equal(waitpid(child, &wait_status, 0), child);
    assert_true(WIFEXITED(wait_status));
    return WEXITSTATUS(wait_status);
}

static void fail_each(ambit__fault kind, ambit_status expected) {
    for (int forever = 0; forever < 2; forever++) {
        uint64_t call = 0;
        int answer;
        while (!(answer = in_child(kind, call, forever, expected))) call++;
        assert_int_equal(answer, 1);
        assert_true(call > 0); /* something was there to fail */
    }
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
    fail_each(AMBIT__FAULT_THREAD, AMBIT_ETHREAD);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory),
        cmocka_unit_test(without_descriptors),
        cmocka_unit_test(without_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
