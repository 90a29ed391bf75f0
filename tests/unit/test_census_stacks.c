/* Sampled stacks: levels, rates, bounds, and stacks that are whole whatever runs beside the walk. */
#include "census.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "census/slab.h"
#include "census/snapshot.h"

static void level(ambit_level level, uint32_t mean) {
    assert_ok(ambit_census_level_set(level, mean));
}
static ambit_census *take(void) {
    ambit_census *census = NULL;
    assert_ok(ambit_census_take(&census));
    return census;
}
static ambit_stack_counts counts(void) {
    ambit_stack_counts now;
    ambit_stack_counts_read(&now);
    return now;
}
/* After a test; its clock stood still, so that all it opened is of one age. */
static int at_lines_only(void **state) {
    assert_ok(ambit_census_level_set(AMBIT_LEVEL_SITES, 0));
    assert_int_equal(counts().live, 0); /* all are given back */
    return without_virtual_clock(state);
}

static bool has_address(const ambit__census_stack *stack, const void *address) {
    for (uint32_t i = 0; i < stack->depth; i++)
        if (stack->frames[i] == (uintptr_t)address) return true;
    return false;
}

/* Two ways to one line, of different depth. `returns` is an address in the caller's stack. */
static const ambit_site opener = {"opener.c", "opener", 1};
__attribute__((noinline)) static ambit_ctx *open_near(const void **returns) {
    ambit_ctx *ctx = NULL;
    *returns = __builtin_return_address(0);
    if (ambit_ctx_open_at(ambit_background(), AMBIT_NEVER, &ctx, &opener)) abort();
    __asm__ volatile("" ::: "memory"); /* no tail call: the frame stays */
    return ctx;
}
__attribute__((noinline)) static ambit_ctx *open_further(const void **returns) {
    ambit_ctx *ctx = open_near(returns);
    __asm__ volatile("" ::: "memory");
    return ctx;
}
__attribute__((noinline)) static ambit_ctx *open_far(const void **returns) {
    ambit_ctx *ctx = open_further(returns);
    *returns = __builtin_return_address(0);
    return ctx;
}

static void no_stack_is_taken_unless_asked(void **state) {
    (void)state;
    const void *returns;
    uint32_t mean = 99;
    ambit_stack_counts before = counts();
    assert_int_equal(ambit_census_level(&mean), AMBIT_LEVEL_SITES);
    assert_int_equal(mean, 0);
    ambit_ctx *ctx = open_near(&returns);
    ambit_census *census = take();
    assert_int_equal(census->stacks_used, 0);
    assert_int_equal(counts().taken, before.taken);
    struct text text = {NULL, 0};
    assert_ok(ambit_census_write_stacks(census, collect, &text));
    assert_int_equal(text.length, 0);
    ambit_census_free(census);
    ambit_ctx_close(&ctx);
}

static void every_object_has_the_stack_of_its_birth_and_gives_it_back(void **state) {
    (void)state;
    const void *near, *near_too, *far;
    ambit_stack_counts before = counts();
    level(AMBIT_LEVEL_EVERY, 0);
    assert_int_equal(ambit_census_level(NULL), AMBIT_LEVEL_EVERY);
    ambit_ctx *held[5];
    volatile int near_count = 3; /* unknown to the compiler: not unrolled, so one call and stack */
    for (int i = 0; i < near_count; i++) held[i] = open_near(&near);
    held[3] = open_far(&far);
    held[4] = open_near(&near_too); /* as deep as the first, and not the same */
    level(AMBIT_LEVEL_SITES, 0);
    assert_int_equal(counts().live, 5);
    assert_int_equal(counts().taken - before.taken, 5);
    ambit_census *census = take();
    assert_int_equal(ambit_census_rows(census), 1);
    assert_int_equal(census->stacks_used, 3);
    int seen = 0;
    for (size_t i = 0; i < 3; i++) {
        const ambit__census_stack *stack = &census->stacks[i];
        bool is_near = has_address(stack, near), is_far = has_address(stack, far);
        assert_int_equal(is_near + is_far + has_address(stack, near_too), 1);
        assert_int_equal(stack->taken, is_near ? 3 : 1);
        assert_int_equal(stack->objects, is_near ? 3 : 1);
        seen |= is_near ? 1 : is_far ? 2 : 4;
    }
    assert_int_equal(seen, 7);
    for (int i = 0; i < 5; i++) ambit_ctx_close(&held[i]);
    assert_int_equal(counts().live, 0);
    struct text text = {NULL, 0};
    assert_ok(ambit_census_write_stacks(census, collect, &text)); /* the snapshot has its own */
    assert_non_null(strstr(text.bytes, "context <1s: about 3 of 5, about 0 bytes, by 3 taken: "
                                       "opener.c:1 in opener()\n    #0 "));
    text_free(&text);
    ambit_census_free(census);
}

static void holds_and_timers_have_stacks_too(void **state) {
    (void)state;
    ambit_hold *hold = NULL;
    ambit_timer timer;
    ambit_ctx *ctx = open_child(ambit_background());
    level(AMBIT_LEVEL_EVERY, 0);
    assert_ok(ambit_ctx_hold(ctx, &hold));
    assert_ok(ambit_timer_arm(ambit_clock_now_ns() + 3600 * AMBIT_SECOND, free, NULL, &timer));
    ambit_census *census = take();
    assert_int_equal(census->stacks_used, 2);
    assert_int_equal(census->stacks[0].kind, AMBIT_KIND_HOLD);
    assert_int_equal(census->stacks[1].kind, AMBIT_KIND_TIMER);
    ambit_census_free(census);
    assert_int_equal(ambit_timer_disarm(timer), AMBIT_DISARMED);
    ambit_ctx_drop(&hold);
    ambit_ctx_close(&ctx);
}

static void a_bad_level_or_mean_changes_nothing(void **state) {
    (void)state;
    uint32_t mean;
    level(AMBIT_LEVEL_SAMPLED, 77);
    assert_int_equal(ambit_census_level_set(AMBIT_LEVEL_SAMPLED, 0), AMBIT_EINVALID);
    assert_int_equal(ambit_census_level_set((ambit_level)3, 1), AMBIT_EINVALID);
    assert_int_equal(ambit_census_level_set((ambit_level)-1, 1), AMBIT_EINVALID);
    assert_int_equal(ambit_census_level(&mean), AMBIT_LEVEL_SAMPLED);
    assert_int_equal(mean, 77);
}

/* ---- Rates ----------------------------------------------------------------------------------- */

static void distances_are_geometric(void **state) {
    (void)state;
    static const uint32_t means[] = {1, 2, 3, 10, 1000};
    enum { DRAWS = 200000 };
    uint64_t random = 0;
    for (size_t i = 0; i < 5; i++) {
        double sum = 0, zeros = 0, mean = means[i];
        for (int draw = 0; draw < DRAWS; draw++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            uint64_t skip = ambit__sample_skip(means[i], random);
            sum += (double)skip + 1;
            zeros += skip == 0;
        }
        /* The seed is fixed, so the outcome is too; the bounds are above four standard errors. */
        assert_true(sum / DRAWS > mean * 0.99 && sum / DRAWS < mean * 1.01);
        double expected = DRAWS / mean;
        assert_true(zeros > expected * 0.7 && zeros < expected * 1.3);
    }
    assert_int_equal(ambit__sample_skip(10, UINT64_MAX), 0);
    assert_true(ambit__sample_skip(UINT32_MAX, 0) < UINT64_C(1) << 40); /* 36.7 means at most */
    assert_true(ambit__sample_skip(2, 0) <= 53);
}

static void about_one_in_the_mean_is_sampled_and_no_rhythm_is_favoured(void **state) {
    (void)state;
    enum { ROUNDS = 100000, MEAN = 10 };
    static const ambit_site sites[2] = {{"even.c", "even", 0}, {"odd.c", "odd", 1}};
    uint64_t by_site[2] = {0};
    level(AMBIT_LEVEL_SAMPLED, MEAN);
    for (int i = 0; i < ROUNDS; i++) {
        ambit_ctx *ctx = NULL;
        uint64_t before = counts().taken;
        assert_ok(ambit_ctx_open_at(ambit_background(), AMBIT_NEVER, &ctx, &sites[i % 2]));
        by_site[i % 2] += counts().taken - before;
        ambit_ctx_close(&ctx);
    }
    for (int i = 0; i < 2; i++) /* a fixed distance of 10 would see the even ones only */
        assert_in_range(by_site[i], ROUNDS / MEAN / 2 * 0.9, ROUNDS / MEAN / 2 * 1.1);
}

static void a_stack_stands_for_as_many_as_the_mean(void **state) {
    (void)state;
    const void *returns;
    enum { HELD = 2000, MEAN = 20 };
    static ambit_ctx *held[HELD];
    uint64_t taken = 0, objects = 0;
    level(AMBIT_LEVEL_SAMPLED, MEAN);
    for (int i = 0; i < HELD; i++) held[i] = open_near(&returns);
    level(AMBIT_LEVEL_SITES, 0);
    ambit_census *census = take();
    for (size_t i = 0; i < census->stacks_used; i++) {
        taken += census->stacks[i].taken;
        objects += census->stacks[i].objects;
    }
    assert_int_equal(objects, taken * MEAN);
    assert_in_range(objects, HELD / 2, HELD * 2);
    assert_int_equal(ambit_census_count(census, AMBIT_KIND_CTX), HELD); /* exact all the same */
    ambit_census_free(census);
    for (int i = 0; i < HELD; i++) ambit_ctx_close(&held[i]);
}

static _Atomic(uint32_t) phase;
static void *open_in_each_phase(void *unused) {
    uint32_t at = 1;
    (void)unused;
    for (; at <= 3; at++) {
        while (atomic_load_explicit(&phase, memory_order_acquire) != 2 * at - 1) sched_yield();
        ambit_ctx *ctx = NULL;
        assert_ok(ambit_ctx_open(ambit_background(), &ctx));
        ambit_ctx_close(&ctx);
        atomic_store_explicit(&phase, 2 * at, memory_order_release);
    }
    return NULL;
}
static void a_new_level_is_that_of_all_threads_at_once(void **state) {
    (void)state;
    static const ambit_level levels[] = {AMBIT_LEVEL_SITES, AMBIT_LEVEL_EVERY, AMBIT_LEVEL_SITES};
    pthread_t thread;
    atomic_store_explicit(&phase, 0, memory_order_relaxed);
    assert_int_equal(pthread_create(&thread, NULL, open_in_each_phase, NULL), 0);
    for (uint32_t at = 1; at <= 3; at++) {
        uint64_t before = counts().taken;
        level(levels[at - 1], 1);
        atomic_store_explicit(&phase, 2 * at - 1, memory_order_release);
        while (atomic_load_explicit(&phase, memory_order_acquire) != 2 * at) sched_yield();
        assert_int_equal(counts().taken - before, levels[at - 1] == AMBIT_LEVEL_EVERY);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* ---- Bounds ---------------------------------------------------------------------------------- */

#ifdef AMBIT_TESTING
static void what_finds_no_memory_for_its_stack_goes_without(void **state) {
    (void)state;
    enum { HELD = 300 }; /* more than a chunk of stacks */
    static ambit_ctx *held[HELD];
    const void *returns;
    for (int i = 0; i < HELD; i++) held[i] = open_near(&returns); /* contexts enough are there */
    for (int i = 0; i < HELD; i++) ambit_ctx_close(&held[i]);
    ambit__fault_arm(AMBIT__FAULT_MEMORY, 0, true);
    assert_int_equal(ambit_census_level_set(AMBIT_LEVEL_EVERY, 0), AMBIT_EMEMORY);
    (void)ambit__fault_disarm(AMBIT__FAULT_MEMORY);
    assert_int_equal(ambit_census_level(NULL), AMBIT_LEVEL_SITES);
    level(AMBIT_LEVEL_EVERY, 0);
    ambit_stack_counts before = counts();
    ambit__fault_arm(AMBIT__FAULT_MEMORY, 0, true);
    for (int i = 0; i < HELD; i++) held[i] = open_near(&returns);
    (void)ambit__fault_disarm(AMBIT__FAULT_MEMORY);
    ambit_stack_counts after = counts();
    assert_true(after.missed > before.missed);
    assert_int_equal(after.missed - before.missed + after.taken - before.taken, HELD);
    for (int i = 0; i < HELD; i++) ambit_ctx_close(&held[i]);
}
#endif

static void stacks_are_bounded_and_the_rest_is_counted(void **state) {
    (void)state;
    enum { BEYOND = 10 };
    static ambit_hold *holds[AMBIT_STACKS_MAX + BEYOND];
    ambit_ctx *ctx = open_child(ambit_background());
    ambit_stack_counts before = counts();
    level(AMBIT_LEVEL_EVERY, 0);
    volatile int count = AMBIT_STACKS_MAX + BEYOND; /* not unrolled: one call, one stack */
    for (int i = 0; i < count; i++) assert_ok(ambit_ctx_hold(ctx, &holds[i]));
    assert_int_equal(counts().live, AMBIT_STACKS_MAX);
    assert_int_equal(counts().missed - before.missed, BEYOND);
    level(AMBIT_LEVEL_SAMPLED, 1); /* with all in use it may be set all the same */
    ambit_census *census = take();
    assert_int_equal(census->stacks_used, 1);
    assert_int_equal(census->stacks[0].taken, AMBIT_STACKS_MAX);
    ambit_census_free(census);
    for (int i = 0; i < AMBIT_STACKS_MAX + BEYOND; i++) ambit_ctx_drop(&holds[i]);
    ambit_ctx_close(&ctx);
    assert_int_equal(counts().live, 0);
}

/* ---- Under load ------------------------------------------------------------------------------ */

enum { THREADS = 3 };
static _Atomic(uint32_t) stop;
static void *open_and_close_both_ways(void *unused) {
    const void *returns;
    (void)unused;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        ambit_ctx *near = open_near(&returns), *far = open_far(&returns);
        ambit_ctx_close(&near);
        near = open_far(&returns);
        ambit_ctx_close(&far);
        ambit_ctx_close(&near);
    }
    return NULL;
}

/* The stacks of one thread's function, whichever thread: one for each call above. A mixture of two
 * would be one more. */
static void a_walk_beside_births_and_deaths_copies_whole_stacks_only(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    ambit__census_stack known[8];
    size_t known_count = 0;
    uint64_t copied = 0;
    atomic_store_explicit(&stop, 0, memory_order_relaxed);
    level(AMBIT_LEVEL_EVERY, 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close_both_ways, NULL), 0);
    for (int round = 0; round < 3000 || ((copied < 500 || known_count < 3) && round < 300000);
         round++) {
        ambit_census *census = take();
        for (size_t i = 0; i < census->stacks_used; i++) {
            const ambit__census_stack *stack = &census->stacks[i];
            size_t at = 0;
            copied += stack->taken;
            while (at < known_count &&
                   (known[at].depth != stack->depth ||
                    memcmp(known[at].frames, stack->frames, stack->depth * sizeof(uintptr_t)) != 0))
                at++;
            if (at < known_count) continue;
            assert_true(known_count < 3); /* the calls above */
            known[known_count++] = *stack;
        }
        ambit_census_free(census);
    }
    atomic_store_explicit(&stop, 1, memory_order_relaxed);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(copied >= 500); /* or the walk met nothing to copy */
    assert_int_equal(known_count, 3);
}

/* The protocol alone, as fast as it goes: all words of a stack are the same number. */
static uint32_t written_number;
static void *write_on_and_on(void *unused) {
    uintptr_t frames[AMBIT__STACK_FRAMES];
    (void)unused;
    for (uint32_t value = 1; !atomic_load_explicit(&stop, memory_order_relaxed); value++) {
        uint32_t depth = value % 2 ? AMBIT__STACK_FRAMES : 10;
        for (uint32_t i = 0; i < depth; i++) frames[i] = value;
        ambit__stack_write(written_number, frames, depth, value);
    }
    return NULL;
}
static void a_stack_is_read_whole_or_dropped(void **state) {
    (void)state;
    pthread_t thread;
    ambit__stack_copy copy;
    uint64_t whole = 0, dropped = 0;
    written_number = ambit__stack_get();
    assert_int_not_equal(written_number, 0);
    ambit__stack_write(written_number, (uintptr_t[]){1}, 1, 1);
    assert_true(ambit__stack_read(written_number, &copy));
    assert_true(ambit__stack_is(written_number, copy.version));
    ambit__stack_write(written_number, (uintptr_t[]){1}, 1, 1);
    assert_false(ambit__stack_is(written_number, copy.version)); /* the same once more is another */
    atomic_store_explicit(&stop, 0, memory_order_relaxed);
    assert_int_equal(pthread_create(&thread, NULL, write_on_and_on, NULL), 0);
    for (int i = 0; i < 300000 || (i < 30000000 && (whole < 100 || dropped < 100)); i++) {
        if (!ambit__stack_read(written_number, &copy) ||
            !ambit__stack_is(written_number, copy.version)) {
            dropped++;
            continue;
        }
        whole++;
        for (uint32_t at = 0; at < copy.depth; at++)
            if (copy.frames[at] != copy.weight) fail_msg("torn at %u", at);
        if (copy.weight > 1) assert_int_equal(copy.depth, copy.weight % 2 ? 30 : 10);
    }
    atomic_store_explicit(&stop, 1, memory_order_relaxed);
    assert_int_equal(pthread_join(thread, NULL), 0);
    ambit__stack_put(written_number);
    assert_true(whole >= 100 && dropped >= 100); /* or the two did not meet */
}

static void a_child_of_fork_samples_on(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    atomic_store_explicit(&stop, 0, memory_order_relaxed);
    level(AMBIT_LEVEL_EVERY, 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close_both_ways, NULL), 0);
    for (int round = 0; round < 30; round++) {
        pid_t child = fork();
        if (!child) {
            const void *returns;
            alarm(20); /* a lock left locked would hang here */
            for (int i = 0; i < 300; i++) {
                ambit_ctx *ctx = open_near(&returns);
                ambit_census *census = take();
                ambit_census_free(census);
                if (i % 2) ambit_ctx_close(&ctx);
            }
            _exit(ambit_verdict_check(NULL, NULL) ? 1 : 0);
        }
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    atomic_store_explicit(&stop, 1, memory_order_relaxed);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
}

#define SAMPLED(test) cmocka_unit_test_setup_teardown(test, with_virtual_clock, at_lines_only)

int main(void) {
    const struct CMUnitTest tests[] = {
        SAMPLED(no_stack_is_taken_unless_asked),
#ifdef AMBIT_TESTING
        SAMPLED(what_finds_no_memory_for_its_stack_goes_without), /* before there are many */
#endif
        SAMPLED(every_object_has_the_stack_of_its_birth_and_gives_it_back),
        SAMPLED(holds_and_timers_have_stacks_too),
        SAMPLED(a_bad_level_or_mean_changes_nothing),
        SAMPLED(distances_are_geometric),
        SAMPLED(about_one_in_the_mean_is_sampled_and_no_rhythm_is_favoured),
        SAMPLED(a_stack_stands_for_as_many_as_the_mean),
        SAMPLED(a_new_level_is_that_of_all_threads_at_once),
        SAMPLED(a_walk_beside_births_and_deaths_copies_whole_stacks_only),
        SAMPLED(a_stack_is_read_whole_or_dropped),
        SAMPLED(a_child_of_fork_samples_on),
        SAMPLED(stacks_are_bounded_and_the_rest_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
