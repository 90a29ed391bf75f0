/* The allocator shim: hooks, figures, alignment, and failing on demand. */
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/memory.h"
#include "build.h"
#include "fresh.h"

static ambit_memory_stats figures(void) {
    ambit_memory_stats stats;
    ambit_memory_stats_read(&stats);
    return stats;
}

/* ---- The built-in allocator ------------------------------------------------------------------ */

static void memory_is_aligned_as_asked_and_all_there(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 7, 64, 1000, 4096, 70000};
    for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            unsigned char *memory = ambit__allocate(sizes[i], alignment);
            assert_non_null(memory);
            assert_int_equal((uintptr_t)memory % alignment, 0);
            memset(memory, 0xa5, sizes[i]);
            ambit__release(memory, sizes[i], alignment);
        }
    }
}

static void zeroed_memory_is_zero_also_where_it_was_used_before(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++) {
        unsigned char *memory = ambit__allocate_zero(5000, 64);
        assert_non_null(memory);
        for (int at = 0; at < 5000; at++) assert_int_equal(memory[at], 0);
        memset(memory, 0xa5, 5000);
        ambit__release(memory, 5000, 64);
    }
}

static void figures_count_what_comes_and_goes(void **state) {
    (void)state;
    ambit_memory_stats start = figures();
    void *one = ambit__allocate(100, 8), *other = ambit__allocate_zero(28, 8);
    ambit_memory_stats with = figures();
    assert_int_equal(with.allocations - start.allocations, 2);
    assert_int_equal(with.live_bytes - start.live_bytes, 128);
    ambit__release(one, 100, 8);
    ambit__release(other, 28, 8);
    ambit__release(NULL, 1000, 8);
    ambit_memory_stats end = figures();
    assert_int_equal(end.releases - start.releases, 2);
    assert_int_equal(end.live_bytes, start.live_bytes);
    assert_int_equal(end.failures, start.failures);
}

static void *come_and_go(void *failed) {
    void *kept[8] = {NULL};
    for (size_t i = 0; i < 8000; i++) {
        size_t at = i % 8;
        ambit__release(kept[at], 10 + at, 16);
        kept[at] = ambit__allocate(10 + at, 16);
        if (!kept[at]) atomic_store((_Atomic(int) *)failed, 1);
    }
    for (size_t at = 0; at < 8; at++) ambit__release(kept[at], 10 + at, 16);
    return NULL;
}
static void figures_are_exact_with_several_threads(void **state) {
    (void)state;
    ambit_memory_stats start = figures();
    static _Atomic(int) failed;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &failed), 0);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    ambit_memory_stats end = figures();
    assert_int_equal(atomic_load(&failed), 0);
    assert_int_equal(end.allocations - start.allocations, 32000);
    assert_int_equal(end.releases - start.releases, 32000);
    assert_int_equal(end.live_bytes, start.live_bytes);
}

#if !BUILD_SANITIZED /* they stop the program for it */
static void too_much_memory_is_none(void **state) {
    (void)state;
    ambit_memory_stats start = figures();
    volatile size_t too_much = SIZE_MAX / 4;
    assert_null(ambit__allocate(too_much, 64));
    assert_null(ambit__allocate_zero(too_much, 64));
    assert_int_equal(figures().failures - start.failures, 2);
    assert_int_equal(figures().allocations, start.allocations);
    assert_int_equal(figures().live_bytes, start.live_bytes);
}
#endif

/* ---- Hooks ----------------------------------------------------------------------------------- */

/* What went through the hooks. */
static struct {
    _Atomic(uint64_t) allocations, releases, bytes;
    _Atomic(int) wrong, refuse;
} ours;
/* Each piece remembers what it was asked for with, in front of it. */
struct piece {
    size_t bytes, alignment;
};
static void *give(size_t bytes, size_t alignment, void *user) {
    size_t lead = alignment < 64 ? 64 : alignment;
    void *base;
    if (user != &ours || alignment & (alignment - 1)) atomic_store(&ours.wrong, 1);
    if (atomic_load(&ours.refuse) || posix_memalign(&base, lead, lead + bytes)) return NULL;
    ((struct piece *)((char *)base + lead))[-1] = (struct piece){bytes, alignment};
    atomic_fetch_add(&ours.allocations, 1);
    atomic_fetch_add(&ours.bytes, bytes);
    return (char *)base + lead;
}
static void take(void *memory, size_t bytes, size_t alignment, void *user) {
    struct piece *piece = (struct piece *)memory - 1;
    size_t lead = alignment < 64 ? 64 : alignment;
    if (user != &ours || piece->bytes != bytes || piece->alignment != alignment)
        atomic_store(&ours.wrong, 1);
    atomic_fetch_add(&ours.releases, 1);
    atomic_fetch_sub(&ours.bytes, bytes);
    free((char *)memory - lead);
}

static void never(void *argument) { (void)argument; }
typedef struct blob {
    char bytes[3000];
} blob;
AMBIT_KEY(blob_key, blob);
static ambit_status use_the_library(void) {
    static const blob zero;
    ambit_ctx *ctx = NULL;
    ambit_timer timer;
    ambit_status status = ambit_ctx_open(ambit_background(), &ctx);
    if (status) return status;
    status = ambit_ctx_put(ctx, &blob_key, &zero);
    for (int i = 0; i < 20 && !status; i++)
        status = ambit_ctx_alloc(ctx, 2000) ? AMBIT_OK : AMBIT_EMEMORY;
    if (!status) status = ambit_timer_arm(AMBIT_NEVER, never, NULL, &timer);
    if (!status) (void)ambit_timer_disarm(timer);
    ambit_ctx_close(&ctx);
    ambit_timer_stop();
    return status;
}

/* Hooks are set before anything else: a process of its own. */
static int all_through_hooks(long unused) {
    (void)unused;
    ambit_memory_hooks_set(&(ambit_memory_hooks){give, take, &ours});
    if (use_the_library()) return 1;
    ambit_memory_stats stats = figures();
    if (atomic_load(&ours.wrong)) return 2;
    if (stats.allocations != ours.allocations || stats.releases != ours.releases) return 3;
    if (stats.live_bytes != ours.bytes || !stats.allocations || !stats.releases) return 4;
    return 0;
}
static void all_memory_goes_through_the_hooks(void **state) {
    (void)state;
    assert_fresh("all_through_hooks", 0, 0);
}

static int refused_by_hook(long unused) {
    (void)unused;
    ambit_memory_hooks_set(&(ambit_memory_hooks){give, take, &ours});
    atomic_store(&ours.refuse, 1);
    if (use_the_library() != AMBIT_EMEMORY) return 1;
    if (figures().failures == 0 || figures().allocations || figures().live_bytes) return 2;
    atomic_store(&ours.refuse, 0);
    return use_the_library() ? 3 : 0;
}
static void hook_that_gives_nothing_is_no_memory(void **state) {
    (void)state;
    assert_fresh("refused_by_hook", 0, 0);
}

static int hooks_put_back(long unused) {
    (void)unused;
    ambit_memory_hooks hooks = {give, take, &ours};
    ambit_memory_hooks_set(&hooks);
    hooks = (ambit_memory_hooks){NULL, NULL, NULL}; /* it was copied */
    ambit__release(ambit__allocate(10, 16), 10, 16);
    if (ours.allocations != 1 || ours.releases != 1 || ours.wrong) return 1;
    ambit_memory_hooks_set(NULL);
    ambit__release(ambit__allocate(10, 16), 10, 16);
    return ours.allocations == 1 && ours.releases == 1 ? 0 : 2;
}
static void no_hooks_put_the_built_in_allocator_back(void **state) {
    (void)state;
    assert_fresh("hooks_put_back", 0, 0);
}

/* ---- Failing on demand ----------------------------------------------------------------------- */

#ifdef AMBIT_TESTING
/* Which of eight allocations fail, as bits. */
static unsigned failing_of_eight(void) {
    unsigned bits = 0;
    for (unsigned i = 0; i < 8; i++) {
        void *memory = ambit__allocate(10, 16);
        if (!memory) bits |= 1u << i;
        ambit__release(memory, 10, 16);
    }
    return bits;
}
static void faults_come_after_as_many_calls_as_said(void **state) {
    (void)state;
    ambit_memory_stats start = figures();
    ambit__fault_arm(AMBIT__FAULT_MEMORY, 3, false);
    assert_int_equal(failing_of_eight(), 0x08);
    assert_int_equal(ambit__fault_disarm(AMBIT__FAULT_MEMORY), 8);
    ambit__fault_arm(AMBIT__FAULT_MEMORY, 3, true);
    assert_int_equal(failing_of_eight(), 0xf8);
    assert_int_equal(ambit__fault_disarm(AMBIT__FAULT_MEMORY), 8);
    assert_int_equal(failing_of_eight(), 0);
    assert_int_equal(figures().failures - start.failures, 6);
    assert_int_equal(figures().live_bytes, start.live_bytes);
}

static void faults_of_one_kind_leave_the_others_alone(void **state) {
    (void)state;
    ambit__fault_arm(AMBIT__FAULT_FILES, 0, true);
    ambit__fault_arm(AMBIT__FAULT_THREAD, 0, true);
    assert_int_equal(failing_of_eight(), 0);
    assert_int_equal(ambit__fault_disarm(AMBIT__FAULT_THREAD), 0);
    assert_int_equal(ambit__fault_disarm(AMBIT__FAULT_FILES), 0);
}
#endif

int main(int count, char **arguments) {
    static const fresh_part parts[] = {
        {"all_through_hooks", all_through_hooks},
        {"refused_by_hook", refused_by_hook},
        {"hooks_put_back", hooks_put_back},
        {NULL, NULL},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_as_asked_and_all_there),
        cmocka_unit_test(zeroed_memory_is_zero_also_where_it_was_used_before),
        cmocka_unit_test(figures_count_what_comes_and_goes),
        cmocka_unit_test(figures_are_exact_with_several_threads),
#if !BUILD_SANITIZED
        cmocka_unit_test(too_much_memory_is_none),
#endif
        cmocka_unit_test(all_memory_goes_through_the_hooks),
        cmocka_unit_test(hook_that_gives_nothing_is_no_memory),
        cmocka_unit_test(no_hooks_put_the_built_in_allocator_back),
#ifdef AMBIT_TESTING
        cmocka_unit_test(faults_come_after_as_many_calls_as_said),
        cmocka_unit_test(faults_of_one_kind_leave_the_others_alone),
#endif
    };
    fresh_enter(count, arguments, parts);
    if (count > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
