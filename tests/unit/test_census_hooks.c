/* A program's allocation hooks that use ambit themselves: sampling must not call itself. */
#include "census.h"

static bool armed;
static uint64_t inside;
static void *allocate(size_t bytes, size_t alignment, void *user) {
    void *memory = NULL;
    (void)user;
    if (armed) {
        ambit_ctx *ctx = NULL;
        inside++;
        if (ambit_ctx_open(ambit_background(), &ctx)) abort();
        ambit_ctx_close(&ctx);
    }
    if (alignment < sizeof(void *)) alignment = sizeof(void *);
    return posix_memalign(&memory, alignment, bytes ? bytes : 1) ? NULL : memory;
}
static void release(void *memory, size_t bytes, size_t alignment, void *user) {
    (void)bytes, (void)alignment, (void)user;
    free(memory);
}

static void a_stack_taken_while_a_hook_opens_contexts_is_taken_once(void **state) {
    (void)state;
    enum { HELD = 600 }; /* stacks for which memory is taken twice more */
    static ambit_ctx *held[HELD];
    ambit_stack_counts before, after;
    for (int i = 0; i < HELD; i++) held[i] = open_child(ambit_background());
    for (int i = 0; i < HELD; i++) ambit_ctx_close(&held[i]); /* contexts need no memory any more */
    assert_ok(ambit_census_level_set(AMBIT_LEVEL_EVERY, 0));
    ambit_stack_counts_read(&before);
    armed = true;
    for (int i = 0; i < HELD; i++) held[i] = open_child(ambit_background());
    armed = false;
    ambit_stack_counts_read(&after);
    assert_int_equal(inside, 2);
    assert_int_equal(after.taken - before.taken, HELD); /* those of the hook went without */
    assert_int_equal(after.live, HELD);
    for (int i = 0; i < HELD; i++) ambit_ctx_close(&held[i]);
    assert_ok(ambit_census_level_set(AMBIT_LEVEL_SITES, 0));
}

int main(void) {
    static const ambit_memory_hooks hooks = {allocate, release, NULL};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stack_taken_while_a_hook_opens_contexts_is_taken_once),
    };
    ambit_memory_hooks_set(&hooks); /* before anything else */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
