/* Read-copy-update: who may call what, what a grace period waits for, forks and ends of threads. */
#include "suite.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/rcu.h"
#include "base/thread.h"
#include "fresh.h"

static void nap_ms(unsigned ms) { (void)usleep(ms * 1000); }

static pthread_t start(void *(*run)(void *), void *argument) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, argument), 0);
    return thread;
}
static void *join(pthread_t thread) {
    void *result;
    assert_int_equal(pthread_join(thread, &result), 0);
    return result;
}

static int set_up(void **state) {
    (void)state;
    (void)alarm(60); /* what waits for itself hangs */
    return ambit__rcu_register() ? -1 : 0;
}

/* ---- Who may call what ----------------------------------------------------------------------- */

/* NULL if `call` returns, else the message it was stopped with. */
static _Thread_local jmp_buf back;
static _Thread_local ambit_bug bug_found;
static void jump_back(const ambit_bug *bug, void *user) {
    (void)user;
    bug_found = *bug;
    longjmp(back, 1);
}
static const char *stopped(void (*call)(void)) {
    if (setjmp(back)) return bug_found.message;
    call();
    return NULL;
}

static void must_register(void) {
    if (ambit__rcu_register()) abort();
}
static void lock_and_unlock(void) {
    ambit__rcu_read_lock();
    ambit__rcu_read_unlock();
}
struct counted {
    ambit__rcu_head head;
    _Atomic(int) *calls;
};
static void count_and_free(ambit__rcu_head *head) {
    struct counted *counted = (struct counted *)(void *)head;
    atomic_fetch_add(counted->calls, 1);
    free(counted);
}
static _Atomic(int) calls;
static void call_counted(void) {
    struct counted *counted = malloc(sizeof *counted);
    counted->calls = &calls;
    ambit__rcu_call(&counted->head, count_and_free);
}
static void call_nothing(void) { /* on a thread that must not: the head is not used */
    static ambit__rcu_head head;
    ambit__rcu_call(&head, NULL);
}

/* The cells of one column of the table in rcu.h, as letters: y for what returned, s for a stop. */
struct column {
    char cells[8];
    const char *messages[5];
};
static void try_all(struct column *column, bool may_call) {
    void (*const rows[])(void) = {lock_and_unlock, may_call ? call_counted : call_nothing,
                                  ambit__rcu_synchronize, ambit__rcu_barrier, must_register};
    for (int row = 0; row < 5; row++) {
        column->messages[row] = stopped(rows[row]);
        column->cells[row] = column->messages[row] ? 's' : 'y';
    }
}
static void *on_unregistered(void *column) {
    try_all(column, false);
    return NULL;
}
static void *on_registered(void *column) {
    must_register();
    try_all(column, true);
    return NULL;
}
static void *in_section(void *column) {
    must_register();
    ambit__rcu_read_lock();
    try_all(column, true);
    ambit__rcu_read_unlock();
    return NULL;
}
static struct column of_callback;
static sigset_t signals_of_callback;
static void try_in_callback(ambit__rcu_head *head) {
    (void)head;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &signals_of_callback);
    try_all(&of_callback, true);
}
static void *in_callback(void *column) {
    static ambit__rcu_head head;
    must_register();
    ambit__rcu_call(&head, try_in_callback);
    ambit__rcu_barrier();
    *(struct column *)column = of_callback;
    return NULL;
}
static void table_holds(void *(*run)(void *), const char *cells, const char *message, int row) {
    struct column column = {.cells = ""};
    ambit_bug_hook_set(jump_back, NULL);
    (void)join(start(run, &column));
    ambit_bug_hook_set(NULL, NULL);
    assert_string_equal(column.cells, cells);
    if (message) assert_non_null(strstr(column.messages[row], message));
}
/* Rows: read_lock, call, synchronize, barrier, register. */
static void unregistered_thread_may_wait_but_not_read_or_call(void **state) {
    (void)state;
    table_holds(on_unregistered, "ssyyy", "expected a registered thread", 0);
    table_holds(on_unregistered, "ssyyy", "expected a registered thread", 1);
}
static void registered_thread_may_do_all(void **state) {
    (void)state;
    table_holds(on_registered, "yyyyy", NULL, 0);
}
static void reader_may_not_wait_for_readers(void **state) {
    (void)state;
    table_holds(in_section, "yyssy", "it would wait for itself", 2);
    table_holds(in_section, "yyssy", "it would wait for itself", 3);
}
static void callback_may_not_wait_for_callbacks(void **state) {
    (void)state;
    table_holds(in_callback, "yyysy", "expected not to be in a callback", 3);
    for (int number = 1; number < 32; number++)
        if (number != SIGKILL && number != SIGSTOP)
            assert_true(sigismember(&signals_of_callback, number));
}

static void *unlock_unregistered(void *unused) {
    (void)unused;
    return (void *)(intptr_t)(stopped(ambit__rcu_read_unlock) != NULL);
}
static void unlock_without_a_lock_stops(void **state) {
    (void)state;
    assert_stops(ambit__rcu_read_unlock());
    assert_non_null(strstr(suite_bug.message, "expected an open read section, found none"));
    ambit_bug_hook_set(jump_back, NULL);
    assert_non_null(join(start(unlock_unregistered, NULL)));
    ambit_bug_hook_set(NULL, NULL);
}

static void sections_nest(void **state) {
    (void)state;
    ambit__rcu_read_lock();
    for (int i = 0; i < 100; i++) ambit__rcu_read_lock();
    for (int i = 0; i < 100; i++) ambit__rcu_read_unlock();
    assert_stops(ambit__rcu_synchronize());
    ambit__rcu_read_unlock();
    ambit__rcu_synchronize();
}

/* ---- What a grace period waits for ----------------------------------------------------------- */

static _Atomic(int) reading, may_leave, waited;
static void *read_until_told(void *unused) {
    must_register();
    ambit__rcu_read_lock();
    atomic_store(&reading, 1);
    while (!atomic_load(&may_leave)) nap_ms(1);
    ambit__rcu_read_unlock();
    return unused;
}
static void *wait_for_readers(void *unused) {
    ambit__rcu_synchronize();
    atomic_store(&waited, 1);
    return unused;
}
static pthread_t open_reader(void) {
    atomic_store(&reading, 0);
    atomic_store(&may_leave, 0);
    pthread_t reader = start(read_until_told, NULL);
    while (!atomic_load(&reading)) nap_ms(1);
    return reader;
}
static void *read_once(void *unused) {
    must_register();
    lock_and_unlock();
    return unused;
}

static void synchronize_waits_for_a_section_that_is_open(void **state) {
    (void)state;
    pthread_t reader = open_reader();
    atomic_store(&waited, 0);
    pthread_t writer = start(wait_for_readers, NULL);
    nap_ms(50);
    (void)join(start(read_once, NULL)); /* comes and goes meanwhile */
    assert_int_equal(atomic_load(&waited), 0);
    atomic_store(&may_leave, 1);
    (void)join(writer);
    (void)join(reader);
    assert_int_equal(atomic_load(&waited), 1);
}

static void callback_waits_for_a_section_that_is_open(void **state) {
    (void)state;
    ambit__rcu_barrier(); /* the calls of earlier cases */
    pthread_t reader = open_reader();
    atomic_store(&calls, 0);
    call_counted();
    nap_ms(50);
    assert_int_equal(atomic_load(&calls), 0);
    atomic_store(&may_leave, 1);
    ambit__rcu_barrier();
    assert_int_equal(atomic_load(&calls), 1);
    (void)join(reader);
}

static int order[300], ordered; /* on liburcu's thread; read after a barrier */
static struct numbered {
    ambit__rcu_head head;
    int number;
} numbered[300];
static void note_order(ambit__rcu_head *head) {
    order[ordered++] = ((struct numbered *)(void *)head)->number;
}
static void callbacks_run_in_order_and_before_the_barrier_returns(void **state) {
    (void)state;
    for (int i = 0; i < 300; i++) {
        numbered[i].number = i;
        ambit__rcu_call(&numbered[i].head, note_order);
    }
    ambit__rcu_barrier();
    assert_int_equal(ordered, 300);
    for (int i = 0; i < 300; i++) assert_int_equal(order[i], i);
}

/* Versions are published, read and freed; every one that is read is whole. */
struct version {
    ambit__rcu_head head;
    int one, other;
};
static _Atomic(struct version *) current;
static _Atomic(int) go_on, torn, read_versions;
static void free_version(ambit__rcu_head *head) {
    struct version *version = (struct version *)(void *)head;
    version->one = version->other = -1;
    free(version);
}
static struct version *new_version(int number) {
    struct version *version = malloc(sizeof *version);
    version->one = version->other = number;
    return version;
}
static void *read_versions_on(void *unused) {
    int last = 0;
    must_register();
    while (atomic_load(&go_on)) {
        ambit__rcu_read_lock();
        struct version *version = ambit__rcu_read(&current);
        if (version->one != version->other || version->one < last) atomic_store(&torn, 1);
        if (version->one != last) atomic_fetch_add(&read_versions, 1);
        last = version->one;
        ambit__rcu_read_unlock();
    }
    return unused;
}
static void readers_see_whole_versions_while_they_are_replaced(void **state) {
    (void)state;
    pthread_t readers[3];
    atomic_store(&go_on, 1);
    ambit__rcu_publish(&current, new_version(1));
    for (int i = 0; i < 3; i++) readers[i] = start(read_versions_on, NULL);
    for (int i = 2; i < 3000 || atomic_load(&read_versions) < 30; i++) {
        struct version *old = ambit__rcu_read(&current);
        ambit__rcu_publish(&current, new_version(i));
        if (i % 50) {
            ambit__rcu_call(&old->head, free_version);
        } else {
            ambit__rcu_synchronize();
            free_version(&old->head);
        }
    }
    atomic_store(&go_on, 0);
    for (int i = 0; i < 3; i++) (void)join(readers[i]);
    ambit__rcu_barrier();
    free(ambit__rcu_read(&current));
    assert_int_equal(atomic_load(&torn), 0);
}

/* ---- The end of a thread --------------------------------------------------------------------- */

static void a_thousand_readers_come_and_go(void **state) {
    (void)state;
    for (int i = 0; i < 1000; i++) {
        (void)join(start(read_once, NULL));
        if (i % 100 == 0)
            ambit__rcu_synchronize(); /* one left behind would be read after its end */
    }
    ambit__rcu_synchronize();
    for (ambit__thread *at = ambit__thread_records(); at; at = at->next)
        if (at != ambit__thread_record) assert_null(at->rcu_reader);
}

static void *end_inside(void *unused) {
    must_register();
    ambit__rcu_read_lock();
    return unused;
}
static int thread_ends_inside(long unused) {
    (void)unused;
    (void)join(start(end_inside, NULL));
    return 0;
}
static void thread_that_ends_in_a_section_is_stopped(void **state) {
    (void)state;
    fresh_end end = fresh_run("thread_ends_inside", 0);
    assert_int_equal(end.signal, SIGABRT);
    assert_non_null(strstr(end.text, "ambit: pthread_exit: expected no open RCU read section on a "
                                     "thread that ends, found one"));
}

static pthread_key_t late_key;
static void read_late(void *value) {
    (void)value;
    (void)read_once(NULL);
}
static void *end_with_late_reading(void *unused) {
    (void)pthread_setspecific(late_key, &late_key);
    return read_once(unused);
}
static void destructor_of_the_program_may_read(void **state) {
    (void)state;
    assert_int_equal(pthread_key_create(&late_key, read_late), 0);
    for (int i = 0; i < 20; i++) (void)join(start(end_with_late_reading, NULL));
    ambit__rcu_synchronize();
    (void)pthread_key_delete(late_key);
}

#define CASE(name) cmocka_unit_test_setup(name, set_up)

int main(int count, char **arguments) {
    static const fresh_part parts[] = {
        {"thread_ends_inside", thread_ends_inside},
        {NULL, NULL},
    };
    const struct CMUnitTest tests[] = {
        CASE(unregistered_thread_may_wait_but_not_read_or_call),
        CASE(registered_thread_may_do_all),
        CASE(reader_may_not_wait_for_readers),
        CASE(callback_may_not_wait_for_callbacks),
        CASE(unlock_without_a_lock_stops),
        CASE(sections_nest),
        CASE(synchronize_waits_for_a_section_that_is_open),
        CASE(callback_waits_for_a_section_that_is_open),
        CASE(callbacks_run_in_order_and_before_the_barrier_returns),
        CASE(readers_see_whole_versions_while_they_are_replaced),
        CASE(a_thousand_readers_come_and_go),
        CASE(thread_that_ends_in_a_section_is_stopped),
        CASE(destructor_of_the_program_may_read),
    };
    fresh_enter(count, arguments, parts);
    if (count > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
