/* Threads of ambit's own, what runs in the child of a fork, and the barrier on all threads. */
#define _GNU_SOURCE
#include "suite.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/park.h"
#include "base/thread.h"
#include "build.h"
#include "fresh.h"
#include "kernel.h"

/* ---- Workers --------------------------------------------------------------------------------- */

static _Atomic(uint32_t) may_end;
static struct {
    void *argument;
    bool blocked[65];
    bool own_thread;
} seen; /* written by the worker, read after its join */
static pthread_t starter;

static void look_around(void *argument) {
    sigset_t mask;
    seen.argument = argument;
    seen.own_thread = !pthread_equal(pthread_self(), starter);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int number = 1; number < 32; number++) seen.blocked[number] = sigismember(&mask, number);
    while (!atomic_load(&may_end)) (void)ambit__park_until(&may_end, 0, AMBIT_NEVER);
}
static void let_end(void) {
    atomic_store(&may_end, 1);
    ambit__unpark(&may_end, AMBIT__ALL);
}

static void worker_runs_with_a_name_and_all_signals_blocked(void **state) {
    (void)state;
    ambit__worker worker;
    char name[16];
    sigset_t before, after;
    starter = pthread_self();
    atomic_store(&may_end, 0);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_ok(ambit__worker_start(&worker, "ambit-fifteen-l", look_around, &worker));
    (void)pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(pthread_getname_np(worker.handle, name, sizeof name), 0);
    let_end();
    ambit__worker_join(&worker);
    assert_string_equal(name, "ambit-fifteen-l");
    assert_ptr_equal(seen.argument, &worker);
    assert_true(seen.own_thread);
    for (int number = 1; number < 32; number++) {
        if (number != SIGKILL && number != SIGSTOP) assert_true(seen.blocked[number]);
        assert_int_equal(sigismember(&before, number), sigismember(&after, number));
    }
}

static void detached_worker_ends_by_itself(void **state) {
    (void)state;
    static ambit__worker worker; /* it may not have run yet */
    atomic_store(&may_end, 0);
    assert_ok(ambit__worker_start(&worker, "ambit-test", look_around, NULL));
    ambit__worker_detach(&worker);
    let_end(); /* a leaked thread would be ThreadSanitizer's report */
    (void)usleep(20000);
}

#if !BUILD_TSAN /* which stops it first */
static void joining_oneself_stops(void **state) {
    (void)state;
    ambit__worker self = {.handle = pthread_self()};
    assert_stops(ambit__worker_join(&self));
    assert_string_equal(suite_bug.function, "ambit__worker_join");
}
#endif

static void no_thread_left_is_an_answer(void **state) {
    (void)state;
    ambit__worker worker;
    sigset_t before, after;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &before);
    kernel_no_thread = EAGAIN;
    ambit_status status = ambit__worker_start(&worker, "ambit-test", look_around, NULL);
    kernel_no_thread = 0;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(status, AMBIT_ETHREAD);
    for (int number = 1; number < 32; number++)
        assert_int_equal(sigismember(&before, number), sigismember(&after, number));
#ifdef AMBIT_TESTING
    ambit__fault_arm(AMBIT__FAULT_THREAD, 0, false);
    status = ambit__worker_start(&worker, "ambit-test", look_around, NULL);
    assert_int_equal(ambit__fault_disarm(AMBIT__FAULT_THREAD), 1);
    assert_int_equal(status, AMBIT_ETHREAD);
#endif
}

#ifdef AMBIT_TESTING
static void no_descriptor_left_is_an_answer(void **state) {
    (void)state;
    ambit__fault_arm(AMBIT__FAULT_FILES, 0, false);
    int none = ambit__eventfd();
    (void)ambit__fault_disarm(AMBIT__FAULT_FILES);
    int one = ambit__eventfd();
    assert_int_equal(none, -1);
    assert_true(one >= 0);
    (void)close(one);
}
#endif

/* ---- In the child of a fork ------------------------------------------------------------------ */

static char run_in_child[8];
static void first(void) { strcat(run_in_child, "1"); }
static void second(void) { strcat(run_in_child, "2"); }

static int in_the_child(const char *expected) {
    pid_t child = fork();
    if (child == 0) _exit(strcmp(run_in_child, expected) != 0);
    int status = 0;
    (void)waitpid(child, &status, 0);
    return status;
}
static int fork_hooks(long unused) {
    (void)unused;
    ambit__on_fork(first);
    ambit__on_fork(second);
    if (in_the_child("12") || in_the_child("12")) return 1;
    if (*run_in_child) return 2;
    pid_t child = fork();
    if (child == 0) _exit(in_the_child("1212") != 0);
    int status = 0;
    (void)waitpid(child, &status, 0);
    return status ? 3 : 0;
}
static void hooks_run_in_the_child_of_every_fork_and_only_there(void **state) {
    (void)state;
    assert_fresh("fork_hooks", 0, 0);
}

static int too_many_fork_hooks(long unused) {
    (void)unused;
    for (int i = 0; i < 9; i++) {
        if (i == 8) (void)fputs("the ninth\n", stderr);
        ambit__on_fork(first);
    }
    return 0;
}
static void the_ninth_fork_hook_stops(void **state) {
    (void)state;
    fresh_end end = fresh_run("too_many_fork_hooks", 0);
    assert_int_equal(end.signal, SIGABRT);
    assert_non_null(strstr(end.text, "the ninth\nambit: ambit__on_fork: expected at most 8 hooks"));
}

/* Takes a record and gives it back, which is little more than the registry's lock. */
static void *register_often(void *go_on) {
    kernel_no_specific = ENOMEM;
    while (atomic_load((_Atomic(int) *)go_on)) (void)ambit__thread_register();
    kernel_no_specific = 0;
    return NULL;
}
/* The registry is in the middle of something at many of these forks. */
static void child_finds_the_registry_whole(void **state) {
    (void)state;
    static _Atomic(int) go_on = 1;
    pthread_t other;
    (void)
        ambit__process_epoch(); /* or the fork finds the other in a pthread_once() that never ends */
    assert_int_equal(pthread_create(&other, NULL, register_often, &go_on), 0);
    for (int i = 0; i < 40; i++) {
        pid_t child = fork();
        if (child == 0) {
            (void)alarm(20);
            /* Takes the lock, and walks both lists. */
            ambit__on_fork(first);
            for (ambit__thread *at = ambit__thread_records(); at; at = at->next)
                if (at->next && at->next->index + 1 != at->index) _exit(1);
            _exit(0);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    atomic_store(&go_on, 0);
    assert_int_equal(pthread_join(other, NULL), 0);
}

#if !BUILD_ASAN && !BUILD_TSAN
static int open_and_close(void) {
    ambit_ctx *opened[300];
    for (int i = 0; i < 300; i++)
        if (ambit_ctx_open(ambit_background(), &opened[i])) return 1;
    for (int i = 0; i < 300; i++) ambit_ctx_close(&opened[i]);
    return 0;
}
static void *open_and_close_on(void *go_on) {
    while (atomic_load((_Atomic(int) *)go_on))
        if (open_and_close()) abort();
    return NULL;
}
/* So many that they come from the slab that all threads share. */
static void child_may_open_what_others_were_opening(void **state) {
    (void)state;
    static _Atomic(int) go_on = 1;
    pthread_t others[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&others[i], NULL, open_and_close_on, &go_on), 0);
    for (int i = 0; i < 60; i++) {
        pid_t child = fork();
        if (child == 0) {
            (void)alarm(20);
            _exit(open_and_close());
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    atomic_store(&go_on, 0);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(others[i], NULL), 0);
}
#endif

/* ---- The barrier ----------------------------------------------------------------------------- */

static long membarrier_unregistered(long number, const long *arguments) {
    if (number != SYS_membarrier) return KERNEL_PASS;
    return arguments[0] == MEMBARRIER_CMD_PRIVATE_EXPEDITED ? -EPERM : 0;
}
static void barrier_that_the_kernel_refuses_one_day_stops(void **state) {
    (void)state;
    kernel_answers(membarrier_unregistered);
    bool works = ambit__heavy_barrier_works();
    assert_stops(ambit__heavy_barrier());
    kernel_answers(NULL);
    assert_true(works);
    assert_string_equal(suite_bug.function, "membarrier");
}

static long no_membarrier(long number, const long *arguments) {
    (void)arguments;
    return number == SYS_membarrier ? -ENOSYS : KERNEL_PASS;
}
static void kernel_without_a_barrier_is_told(void **state) {
    (void)state;
    kernel_answers(no_membarrier);
    bool works = ambit__heavy_barrier_works();
    kernel_answers(NULL);
    assert_false(works);
}

/* Store buffering: each writes its own flag and reads the other's. With nothing but a compiler's
 * barrier on one side and the heavy one on the other, one of them must see the other. */
static _Atomic(int) light_flag, heavy_flag;
static _Atomic(int) round_begun, round_ended;
static int light_saw; /* handed over by round_ended */
enum { ENOUGH = 20, LAST = -1 };

/* Without sleeping, as long as the other is on its way: they have to meet within nanoseconds. */
static int wait_for_another(_Atomic(int) *number, int old) {
    int now;
    for (unsigned attempt = 0; (now = atomic_load(number)) == old; attempt++)
        if (attempt > 20000) ambit__backoff(attempt);
    return now;
}
static void *light_side(void *unused) {
    for (int round = 0; (round = wait_for_another(&round_begun, round)) != LAST;) {
        ambit__store_relaxed(&light_flag, 1);
        ambit__light_barrier();
        light_saw = ambit__load_relaxed(&heavy_flag);
        atomic_store(&round_ended, round);
    }
    return unused;
}
static int heavy_round(int round) { /* returns what it saw */
    static int delay;               /* so long that it is now too early and now too late */
    ambit__store_relaxed(&light_flag, 0);
    ambit__store_relaxed(&heavy_flag, 0);
    atomic_store(&round_begun, round);
    for (volatile int pause = delay + round % 16; pause > 0; pause--) {
    }
    ambit__store_relaxed(&heavy_flag, 1);
    (void)ambit__heavy_barrier();
    int heavy_saw = ambit__load_relaxed(&light_flag);
    (void)wait_for_another(&round_ended, round - 1);
    delay += heavy_saw ? -(delay > 0) : 1;
    return heavy_saw;
}
static void heavy_barrier_orders_the_light_side(void **state) {
    (void)state;
    pthread_t other;
    int both_missed = 0, light_missed = 0, heavy_missed = 0;
    if (!ambit__heavy_barrier_works()) skip();
    assert_int_equal(pthread_create(&other, NULL, light_side, NULL), 0);
    int64_t start_ns = ambit_clock_now_ns();
    int round = 0;
    while (light_missed < ENOUGH || heavy_missed < ENOUGH || round < 1000) {
        int heavy_saw = heavy_round(++round);
        light_missed += !light_saw;
        heavy_missed += !heavy_saw;
        both_missed += !light_saw && !heavy_saw;
        if (ambit_clock_now_ns() - start_ns > 30 * AMBIT_SECOND) break;
    }
    atomic_store(&round_begun, LAST);
    assert_int_equal(pthread_join(other, NULL), 0);
    print_message("of %d rounds the light side missed %d, the heavy side %d\n", round, light_missed,
                  heavy_missed);
    assert_int_equal(both_missed, 0);
    assert_true(light_missed >= ENOUGH && heavy_missed >= ENOUGH); /* else they did not meet */
}

int main(int count, char **arguments) {
    static const fresh_part parts[] = {
        {"fork_hooks", fork_hooks},
        {"too_many_fork_hooks", too_many_fork_hooks},
        {NULL, NULL},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worker_runs_with_a_name_and_all_signals_blocked),
        cmocka_unit_test(detached_worker_ends_by_itself),
#if !BUILD_TSAN
        cmocka_unit_test(joining_oneself_stops),
#endif
        cmocka_unit_test(no_thread_left_is_an_answer),
#ifdef AMBIT_TESTING
        cmocka_unit_test(no_descriptor_left_is_an_answer),
#endif
        cmocka_unit_test(hooks_run_in_the_child_of_every_fork_and_only_there),
        cmocka_unit_test(the_ninth_fork_hook_stops),
        cmocka_unit_test(child_finds_the_registry_whole),
        cmocka_unit_test(barrier_that_the_kernel_refuses_one_day_stops),
#if !BUILD_ASAN &&                                                                                 \
    !BUILD_TSAN /* their allocators may be locked by a thread that does not come along */
        cmocka_unit_test(child_may_open_what_others_were_opening),
#endif
        cmocka_unit_test(kernel_without_a_barrier_is_told),
        cmocka_unit_test(heavy_barrier_orders_the_light_side),
    };
    fresh_enter(count, arguments, parts);
    if (count > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
