/* Read-copy-update over fork(), and its start where things are missing. */
#include "suite.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/rcu.h"
#include "base/thread.h"
#include "build.h"
#include "fresh.h"
#include "kernel.h"

static _Atomic(int) calls, reading, go_on;
static void nap_ms(unsigned ms) { (void)usleep(ms * 1000); }
static void must_register(void) {
    if (ambit__rcu_register()) abort();
}
static void count_and_free(ambit__rcu_head *head) {
    atomic_fetch_add(&calls, 1);
    free(head);
}
static void call_counted(void) { ambit__rcu_call(malloc(sizeof(ambit__rcu_head)), count_and_free); }
static void *use_all(void *unused) {
    must_register();
    ambit__rcu_read_lock();
    ambit__rcu_read_unlock();
    call_counted();
    ambit__rcu_synchronize();
    ambit__rcu_barrier();
    return unused;
}
/* 0 if all of it works here, on this thread and on new ones. */
static int all_usable(void) {
    pthread_t threads[3];
    atomic_store(&calls, 0);
    (void)use_all(NULL);
    for (int i = 0; i < 3; i++)
        if (pthread_create(&threads[i], NULL, use_all, NULL)) return 10;
    for (int i = 0; i < 3; i++)
        if (pthread_join(threads[i], NULL)) return 11;
    return atomic_load(&calls) == 4 ? 0 : 12;
}
/* What the child of a fork says; 99 if it was killed, because it hung. */
static int said_by(int (*child_does)(void)) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        (void)alarm(BUILD_SANITIZED ? 20 : 10);
        _exit(child_does());
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}
static pthread_t start(void *(*run)(void *)) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, NULL)) abort();
    return thread;
}

/* ---- Forks ----------------------------------------------------------------------------------- */

static int fork_quietly(long unused) {
    (void)unused;
    must_register();
    for (int i = 0; i < 5; i++) {
        int said = said_by(all_usable);
        if (said) return said;
        if (all_usable()) return 20;
    }
    return 0;
}
static void parent_and_child_may_use_all(void **state) {
    (void)state;
    assert_fresh("fork_quietly", 0, 0);
}

static int fork_again(void) {
    if (all_usable()) return 1;
    int said = said_by(all_usable);
    return said ? said : all_usable();
}
static int fork_in_child(long unused) {
    (void)unused;
    must_register();
    return said_by(fork_again);
}
static void grandchild_may_use_all(void **state) {
    (void)state;
    assert_fresh("fork_in_child", 0, 0);
}

static _Atomic(int) may_leave;
static void *read_until_told(void *unused) {
    must_register();
    ambit__rcu_read_lock();
    atomic_store(&reading, 1);
    while (!atomic_load(&may_leave)) nap_ms(1);
    ambit__rcu_read_unlock();
    return unused;
}
static int fork_beside_reader(long unused) {
    (void)unused;
    must_register();
    pthread_t reader = start(read_until_told);
    while (!atomic_load(&reading)) nap_ms(1);
    int said = said_by(all_usable); /* waiting for that reader would be for ever */
    atomic_store(&may_leave, 1);
    (void)pthread_join(reader, NULL);
    return said ? said : all_usable();
}
static void reader_that_did_not_come_along_is_forgotten(void **state) {
    (void)state;
    assert_fresh("fork_beside_reader", 0, 0);
}

static int all_run_here(void) { /* 1 if some were still to be run, 0 if they came too late */
    int before = atomic_load(&calls);
    ambit__rcu_barrier();
    return atomic_load(&calls) != 50 ? 30 : before < 50;
}
static int fork_with_callbacks(long unused) {
    int pending = 0;
    (void)unused;
    must_register();
    for (int round = 0; round < 20; round++) {
        atomic_store(&calls, 0);
        for (int i = 0; i < 50; i++) call_counted();
        int said = said_by(all_run_here);
        if (said > 1) return said;
        if (all_run_here() > 1) return 31;
        pending += said;
    }
    return pending ? 0 : 32;
}
static void callbacks_not_run_before_the_fork_run_in_both(void **state) {
    (void)state;
    assert_fresh("fork_with_callbacks", 0, 0);
}

static void *register_on(void *unused) {
    while (atomic_load(&go_on)) (void)pthread_join(start(use_all), NULL);
    return unused;
}
static void *synchronize_on(void *unused) {
    while (atomic_load(&go_on)) ambit__rcu_synchronize();
    return unused;
}
static void *call_on(void *unused) {
    must_register();
    for (int i = 0; atomic_load(&go_on); i++) {
        call_counted();
        if (i % 1000 == 0) ambit__rcu_barrier();
    }
    return unused;
}
static void *read_on(void *unused) {
    must_register();
    while (atomic_load(&go_on)) {
        ambit__rcu_read_lock();
        ambit__rcu_read_unlock();
    }
    return unused;
}
static int all_but_the_count(void) {
    int said = all_usable();
    return said == 12 ? 0 : said;
}
/* Forks fall into whatever the others are in the middle of. */
static int fork_in_a_storm(long times) {
    void *(*const storm[])(void *) = {register_on, synchronize_on, call_on, read_on};
    pthread_t threads[4];
    must_register();
    atomic_store(&go_on, 1);
    for (int i = 0; i < 4; i++) threads[i] = start(storm[i]);
    for (int i = 0; i < times; i++) {
        int said = said_by(all_but_the_count);
        if (said) return said;
    }
    atomic_store(&go_on, 0);
    for (int i = 0; i < 4; i++) (void)pthread_join(threads[i], NULL);
    ambit__rcu_barrier();
    return all_usable();
}
static void fork_may_come_at_any_time(void **state) {
    (void)state;
    /* AddressSanitizer's allocator is locked for ever in a child if another thread had it at the fork. */
    if (BUILD_ASAN) skip();
    assert_fresh("fork_in_a_storm", BUILD_SANITIZED ? 10 : 60, 0);
}

static int fork_in_section(long unused) {
    (void)unused;
    must_register();
    ambit__rcu_read_lock();
    return fork() == -2;
}
static void fork_in_a_section_is_stopped(void **state) {
    (void)state;
    fresh_end end = fresh_run("fork_in_section", 0);
    assert_int_equal(end.signal, SIGABRT);
    assert_non_null(strstr(end.text, "ambit: fork: expected no open RCU read section"));
}

static int fork_before_use(long unused) {
    (void)unused;
    ambit__rcu_barrier();
    int said = said_by(fork_again);
    return said ? said : all_usable();
}
static void fork_before_the_first_use_is_harmless(void **state) {
    (void)state;
    assert_fresh("fork_before_use", 0, 0);
}

/* ---- What is missing ------------------------------------------------------------------------- */

static int missing(long what) {
    ambit_status wanted = AMBIT_EMEMORY;
    if (what == 0) kernel_no_specific = ENOMEM; /* no record */
    if (what == 1) wanted = AMBIT_ETHREAD, kernel_no_thread = EAGAIN;
    if (ambit__rcu_register() != wanted) return 1;
    if (ambit__rcu_register() != wanted) return 2; /* it says so each time */
    kernel_no_specific = kernel_no_thread = 0;
    return all_usable();
}
static int no_atfork(long unused) {
    (void)unused;
    if (!ambit__thread_self()) return 1; /* with its own handler */
    kernel_no_atfork = ENOMEM;
    if (ambit__rcu_register() != AMBIT_EMEMORY) return 2;
    kernel_no_atfork = 0;
    if (ambit__rcu_register()) return 3;
    int said = said_by(all_usable);
    return said ? said : all_usable();
}
static void what_is_missing_at_the_start_is_an_answer(void **state) {
    (void)state;
    assert_fresh("missing", 0, 0);
    assert_fresh("missing", 1, 0);
    assert_fresh("no_atfork", 0, 0);
}

int main(int count, char **arguments) {
    static const fresh_part parts[] = {
        {"fork_quietly", fork_quietly},
        {"fork_in_child", fork_in_child},
        {"fork_beside_reader", fork_beside_reader},
        {"fork_with_callbacks", fork_with_callbacks},
        {"fork_in_a_storm", fork_in_a_storm},
        {"fork_in_section", fork_in_section},
        {"fork_before_use", fork_before_use},
        {"missing", missing},
        {"no_atfork", no_atfork},
        {NULL, NULL},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parent_and_child_may_use_all),
        cmocka_unit_test(grandchild_may_use_all),
        cmocka_unit_test(reader_that_did_not_come_along_is_forgotten),
        cmocka_unit_test(callbacks_not_run_before_the_fork_run_in_both),
        cmocka_unit_test(fork_may_come_at_any_time),
        cmocka_unit_test(fork_in_a_section_is_stopped),
        cmocka_unit_test(fork_before_the_first_use_is_harmless),
        cmocka_unit_test(what_is_missing_at_the_start_is_an_answer),
    };
    fresh_enter(count, arguments, parts);
    if (count > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
