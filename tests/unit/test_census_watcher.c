/* The watcher: started, changed, stopped from everywhere, without threads, and after a fork. */
#include "build.h"
#include "census.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "census/slab.h"

/* A clock that stands still gives a verdict once; these count the checks instead: each hook call
 * opens another old context, so that the next check has something to give. */
struct watch {
    _Atomic(uint64_t) calls;
    ambit_ctx *held[1000];
    void (*act)(void);
};
static void see(const ambit_verdict *verdict, void *user) {
    struct watch *watch = user;
    uint64_t call = atomic_load_explicit(&watch->calls, memory_order_relaxed);
    assert_int_equal(verdict->kind, AMBIT_VERDICT_OLD);
    if (call + 1 < 1000) assert_ok(ambit_ctx_open(ambit_background(), &watch->held[call + 1]));
    if (watch->act) watch->act();
    atomic_store_explicit(&watch->calls, call + 1, memory_order_release);
}
static uint64_t calls_of(struct watch *watch) {
    return atomic_load_explicit(&watch->calls, memory_order_acquire);
}
static void wait_for_calls(struct watch *watch, uint64_t count) {
    while (calls_of(watch) < count) usleep(1000); /* ctest's time limit is the way out */
}

static struct watch watch, other;
static int start_quiet(void **state) {
    (void)state;
    set_all_limits(NULL);
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, -1);
    memset(&watch, 0, sizeof watch);
    memset(&other, 0, sizeof other);
    assert_ok(ambit_ctx_open(ambit_background(), &watch.held[0]));
    return 0;
}
static int end_quiet(void **state) {
    (void)state;
    ambit_watcher_stop();
    for (int i = 0; i < 1000; i++) {
        ambit_ctx_close(&watch.held[i]);
        ambit_ctx_close(&other.held[i]);
    }
    assert_nothing_lives();
    set_all_limits(limits_at_start);
    return 0;
}

static ambit_status start(struct watch *with, int64_t period_ns) {
    return ambit_watcher_start(period_ns, see, with);
}

static void it_checks_again_and_again_until_it_is_stopped(void **state) {
    (void)state;
    assert_ok(start(&watch, AMBIT_MILLISECOND));
    wait_for_calls(&watch, 3);
    ambit_watcher_stop();
    uint64_t calls = calls_of(&watch);
    usleep(20000);
    assert_int_equal(calls_of(&watch), calls);
    ambit_watcher_stop(); /* idempotent */
    assert_ok(start(&watch, AMBIT_MILLISECOND));
    wait_for_calls(&watch, calls + 2);
}

static void a_period_or_hook_out_of_range_is_refused(void **state) {
    (void)state;
    assert_int_equal(start(&watch, AMBIT_MILLISECOND - 1), AMBIT_EINVALID);
    assert_int_equal(start(&watch, 0), AMBIT_EINVALID);
    assert_int_equal(start(&watch, -1), AMBIT_EINVALID);
    assert_int_equal(start(&watch, INT64_MAX), AMBIT_EINVALID);
    assert_int_equal(ambit_watcher_start(AMBIT_SECOND, NULL, NULL), AMBIT_EINVALID);
    ambit_watcher_stop(); /* there is none */
}

static void a_second_start_changes_period_and_hook_at_once(void **state) {
    (void)state;
    assert_ok(start(&watch, 3600 * AMBIT_SECOND));
    usleep(5000);
    assert_int_equal(calls_of(&watch), 0);
    assert_ok(start(&other, AMBIT_MILLISECOND)); /* it does not sleep out the hour */
    wait_for_calls(&other, 1);
    assert_int_equal(calls_of(&watch), 0);
}

static void stop_from_inside(void) { ambit_watcher_stop(); }
static void a_hook_may_stop_it_and_another_may_start_it_again(void **state) {
    (void)state;
    watch.act = stop_from_inside;
    for (uint64_t round = 1; round <= 3; round++) {
        assert_ok(start(&watch, AMBIT_MILLISECOND));
        wait_for_calls(&watch, round);
        usleep(5000);
        assert_int_equal(calls_of(&watch), round); /* the first call was the last */
    }
    ambit_watcher_stop();
}

static void start_other_from_inside(void) { assert_ok(start(&other, AMBIT_MILLISECOND)); }
static void stop_and_start_other_from_inside(void) {
    ambit_watcher_stop();
    start_other_from_inside();
}
static void a_hook_may_hand_over_to_another_even_after_a_stop(void **state) {
    (void)state;
    for (int stops = 0; stops < 2; stops++) {
        watch.act = stops ? stop_and_start_other_from_inside : start_other_from_inside;
        uint64_t watched = calls_of(&watch), others = calls_of(&other);
        assert_ok(start(&watch, AMBIT_MILLISECOND));
        wait_for_calls(&watch, watched + 1);
        wait_for_calls(&other, others + 3);
        assert_int_equal(calls_of(&watch), watched + 1);
        ambit_watcher_stop();
    }
}

static _Atomic(uint32_t) inside, go_on;
static void be_slow(void) {
    atomic_store_explicit(&inside, 1, memory_order_release);
    while (!atomic_load_explicit(&go_on, memory_order_acquire)) usleep(100);
}
static void *stop_it(void *unused) {
    (void)unused;
    ambit_watcher_stop();
    /* The hook has returned. */
    assert_int_equal(atomic_load_explicit(&go_on, memory_order_acquire), 1);
    return NULL;
}
static void begin_slow_hook(void) {
    atomic_store_explicit(&inside, 0, memory_order_relaxed);
    atomic_store_explicit(&go_on, 0, memory_order_relaxed);
    assert_ok(start(&watch, AMBIT_MILLISECOND));
    while (!atomic_load_explicit(&inside, memory_order_acquire)) usleep(100);
}
static void a_stop_waits_for_a_slow_hook(void **state) {
    (void)state;
    pthread_t stopper;
    watch.act = be_slow;
    begin_slow_hook();
    assert_int_equal(pthread_create(&stopper, NULL, stop_it, NULL), 0);
    usleep(10000);
    atomic_store_explicit(&go_on, 1, memory_order_release);
    assert_int_equal(pthread_join(stopper, NULL), 0);
    assert_int_equal(calls_of(&watch), 1);
}

static void be_slow_then_start(void) {
    be_slow();
    assert_ok(start(&watch, AMBIT_MILLISECOND)); /* while another thread waits for its end */
}
static void a_hook_that_starts_it_does_not_hold_up_a_stop(void **state) {
    (void)state;
    pthread_t stopper;
    watch.act = be_slow_then_start;
    begin_slow_hook();
    assert_int_equal(pthread_create(&stopper, NULL, stop_it, NULL), 0);
    usleep(10000);
    atomic_store_explicit(&go_on, 1, memory_order_release);
    assert_int_equal(pthread_join(stopper, NULL), 0);
    uint64_t calls = calls_of(&watch);
    usleep(10000);
    assert_int_equal(calls_of(&watch), calls); /* the stop was the stronger */
}

#ifdef AMBIT_TESTING
static void without_a_thread_a_status_comes_back_and_it_may_be_tried_again(void **state) {
    (void)state;
    for (int round = 0; round < 2; round++) {
        ambit__fault_arm(AMBIT__FAULT_THREAD, 0, true);
        assert_int_equal(start(&watch, AMBIT_MILLISECOND), AMBIT_ETHREAD);
        assert_int_equal(ambit__fault_disarm(AMBIT__FAULT_THREAD), 1);
        ambit_watcher_stop();
    }
    assert_int_equal(calls_of(&watch), 0);
    assert_ok(start(&watch, AMBIT_MILLISECOND));
    wait_for_calls(&watch, 1);
}
#endif

/* ---- Forks ----------------------------------------------------------------------------------- */

static void assert_child_ends_well(pid_t child) {
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_child_has_no_watcher_and_may_check_and_start_one(void **state) {
    (void)state;
    watch.act = be_slow;
    begin_slow_hook(); /* the check's lock is held while it forks */
    ambit_verdict_counts before = ambit_verdict_counts_read(AMBIT_VERDICT_OLD);
    pid_t child = fork();
    if (!child) {
        alarm(20);                                        /* instead of a hang */
        uint64_t given = ambit_verdict_check(NULL, NULL); /* what the hook has just opened */
        ambit_census *census = NULL;
        if (ambit_census_take(&census)) _exit(1);
        ambit_census_free(census);
        if (given != 1) _exit(2);
#if !BUILD_TSAN
        if (start(&other, AMBIT_MILLISECOND)) _exit(3);
        ambit_ctx *ctx = NULL;
        if (ambit_ctx_open(ambit_background(), &ctx)) _exit(4);
        wait_for_calls(&other, 1);
        ambit_watcher_stop();
#endif
        _exit(0);
    }
    atomic_store_explicit(&go_on, 1, memory_order_release);
    assert_child_ends_well(child);
    ambit_watcher_stop();
    assert_true(ambit_verdict_counts_read(AMBIT_VERDICT_OLD).reported >= before.reported);
}

/* A thread that was in the middle of it at the fork did not come along to open it. */
AMBIT__UNCHECKED static void a_slab_that_was_locked_at_the_fork_is_open_in_the_child(void **state) {
    (void)state;
    ambit__spin_lock(&ambit__slab_ctx.lock);
    pid_t child = fork();
    if (!child) {
        ambit_ctx *held[200]; /* more than a thread's cache */
        alarm(20);
        for (int i = 0; i < 200; i++)
            if (ambit_ctx_open(ambit_background(), &held[i])) _exit(1);
        for (int i = 0; i < 200; i++) ambit_ctx_close(&held[i]);
        _exit(0);
    }
    ambit__spin_unlock(&ambit__slab_ctx.lock);
    assert_child_ends_well(child);
}

static pid_t child_of_hook;
static void fork_once(void) {
    if (child_of_hook) return;
    child_of_hook = fork();
    if (child_of_hook) return;
    alarm(20);
    ambit_watcher_stop(); /* it is this thread: only asked */
#ifdef AMBIT_TESTING
    ambit__fault_arm(AMBIT__FAULT_THREAD, 0, true); /* and no other is started */
#endif
    _exit(start(&other, AMBIT_MILLISECOND) ? 1 : 0);
}
static void a_hook_may_fork(void **state) {
    (void)state;
    child_of_hook = 0;
    watch.act = fork_once;
    assert_ok(start(&watch, AMBIT_MILLISECOND));
    wait_for_calls(&watch, 3);
    ambit_watcher_stop();
    assert_child_ends_well(child_of_hook);
}

#if !BUILD_SANITIZED /* whose allocators stay locked if another thread allocates at the fork */
/* Forks beside checks, opens and closes: whatever is held, the child finds it open. */
static void *check_on_and_on(void *unused) {
    (void)unused;
    while (!atomic_load_explicit(&go_on, memory_order_acquire)) {
        ambit_ctx *held[100];
        for (int i = 0; i < 100; i++) /* more than a thread's cache: the depot is used */
            if (ambit_ctx_open(ambit_background(), &held[i])) abort();
        (void)ambit_verdict_check(NULL, NULL);
        for (int i = 0; i < 100; i++) ambit_ctx_close(&held[i]);
    }
    return NULL;
}
static void children_forked_at_any_moment_find_all_locks_open(void **state) {
    (void)state;
    pthread_t threads[2];
    atomic_store_explicit(&go_on, 0, memory_order_relaxed);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, check_on_and_on, NULL), 0);
    for (int round = 0; round < 60; round++) {
        pid_t child = fork();
        if (!child) {
            ambit_ctx *held[200];
            alarm(20);
            for (int i = 0; i < 200; i++)
                if (ambit_ctx_open(ambit_background(), &held[i])) _exit(1);
            (void)ambit_verdict_check(NULL, NULL);
            for (int i = 0; i < 200; i++) ambit_ctx_close(&held[i]);
            _exit(0);
        }
        assert_child_ends_well(child);
    }
    atomic_store_explicit(&go_on, 1, memory_order_release);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
}
#endif

#define QUIET(test) cmocka_unit_test_setup_teardown(test, start_quiet, end_quiet)

int main(void) {
    const struct CMUnitTest tests[] = {
        QUIET(it_checks_again_and_again_until_it_is_stopped),
        QUIET(a_period_or_hook_out_of_range_is_refused),
        QUIET(a_second_start_changes_period_and_hook_at_once),
        QUIET(a_hook_may_stop_it_and_another_may_start_it_again),
        QUIET(a_hook_may_hand_over_to_another_even_after_a_stop),
        QUIET(a_stop_waits_for_a_slow_hook),
        QUIET(a_hook_that_starts_it_does_not_hold_up_a_stop),
#ifdef AMBIT_TESTING
        QUIET(without_a_thread_a_status_comes_back_and_it_may_be_tried_again),
#endif
        QUIET(a_child_has_no_watcher_and_may_check_and_start_one),
        QUIET(a_slab_that_was_locked_at_the_fork_is_open_in_the_child),
        QUIET(a_hook_may_fork),
#if !BUILD_SANITIZED
        QUIET(children_forked_at_any_moment_find_all_locks_open),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
