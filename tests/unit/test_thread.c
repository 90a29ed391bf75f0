/* Thread records: one for each thread, handed on when it ends, and never lost. */
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

enum { ALIVE = 4, CHURN = BUILD_TSAN ? 4000 : BUILD_ASAN ? 10000 : 100000, WARM = 400 };

static int records(void) {
    int count = 0;
    for (ambit__thread *at = ambit__thread_records(); at; at = at->next) count++;
    return count;
}

static void *on_thread(void *(*run)(void *), void *argument) {
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, run, argument), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    return result;
}

/* ---- Records --------------------------------------------------------------------------------- */

static void *own_record(void *argument) {
    (void)argument;
    ambit__thread *self = ambit__thread_self();
    return self == ambit__thread_self() && self == ambit__thread_record &&
                   atomic_load(&self->alive) == 1
               ? self
               : NULL;
}

static void a_thread_has_one_record_of_its_own(void **state) {
    (void)state;
    ambit__thread *mine = own_record(NULL);
    assert_non_null(mine);
    assert_ptr_equal(own_record(NULL), mine);
    ambit__thread *other = on_thread(own_record, NULL);
    assert_non_null(other);
    assert_ptr_not_equal(other, mine);
    assert_int_equal(atomic_load(&other->alive), 0);
    assert_int_equal(atomic_load(&mine->alive), 1);
}

static pthread_barrier_t together;
static void *record_while_all_live(void *argument) {
    ambit__thread *self = own_record(argument);
    (void)pthread_barrier_wait(&together);
    return self;
}
/* Bits of the indices of ALIVE threads that live at once; all different, or 0. */
static uint64_t indices_in_use(void) {
    pthread_t threads[ALIVE];
    uint64_t indices = 0;
    assert_int_equal(pthread_barrier_init(&together, NULL, ALIVE), 0);
    for (int i = 0; i < ALIVE; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, record_while_all_live, NULL), 0);
    for (int i = 0; i < ALIVE; i++) {
        void *record;
        assert_int_equal(pthread_join(threads[i], &record), 0);
        indices |= UINT64_C(1) << ((ambit__thread *)record)->index;
    }
    (void)pthread_barrier_destroy(&together);
    return __builtin_popcountll(indices) == ALIVE ? indices : 0;
}
static void indices_are_dense_and_handed_on(void **state) {
    (void)state;
    uint64_t before = indices_in_use();
    int made = records();
    assert_true(before != 0);
    assert_true(before >> made == 0);
    for (int round = 0; round < 20; round++) assert_true(indices_in_use() == before);
    assert_int_equal(records(), made);
    for (ambit__thread *at = ambit__thread_records(); at; at = at->next)
        assert_int_equal(at->index, --made);
}

/* ---- Missing things -------------------------------------------------------------------------- */

static void *open_a_context(void *argument) {
    ambit_ctx *ctx = NULL;
    (void)argument;
    ambit_status status = ambit_ctx_open(ambit_background(), &ctx);
    if (!status) ambit_ctx_close(&ctx);
    return (void *)(intptr_t)status;
}

static void *open_without_slot(void *argument) {
    kernel_no_specific = ENOMEM;
    void *status = open_a_context(argument);
    kernel_no_specific = 0;
    return status;
}
static void no_slot_for_the_record_is_no_memory_and_loses_none(void **state) {
    (void)state;
    (void)on_thread(own_record, NULL);
    int made = records();
    for (int i = 0; i < 5; i++) {
        void *status = on_thread(open_without_slot, NULL);
        assert_int_equal((int)(intptr_t)status, AMBIT_EMEMORY);
    }
    assert_int_equal((int)(intptr_t)on_thread(open_a_context, NULL), AMBIT_OK);
    assert_int_equal(records(), made);
}

static int no_key(long unused) {
    (void)unused;
    kernel_no_key = EAGAIN;
    if ((ambit_status)(intptr_t)open_a_context(NULL) != AMBIT_EMEMORY) return 1;
    kernel_no_key = 0;
    if ((ambit_status)(intptr_t)open_a_context(NULL) != AMBIT_EMEMORY) return 2; /* asked once */
    return ambit__thread_id() != 0 && !ambit__thread_records() ? 0 : 3;
}
static void no_key_for_the_records_is_no_memory(void **state) {
    (void)state;
    assert_fresh("no_key", 0, 0);
}

static void *allocate_with_a_thread_inside(size_t bytes, size_t alignment, void *user) {
    void *memory = NULL;
    if (!atomic_exchange((_Atomic(int) *)user, 1)) {
        pthread_t thread; /* as a profiler might, which is itself written with ambit */
        if (!pthread_create(&thread, NULL, own_record, NULL)) (void)pthread_join(thread, NULL);
    }
    return posix_memalign(&memory, alignment, bytes) ? NULL : memory;
}
static void release_it(void *memory, size_t bytes, size_t alignment, void *user) {
    (void)bytes;
    (void)alignment;
    (void)user;
    free(memory);
}
static int memory_hook_uses_the_library(long unused) {
    static _Atomic(int) called;
    (void)unused;
    ambit_memory_hooks_set(
        &(ambit_memory_hooks){allocate_with_a_thread_inside, release_it, &called});
    return ambit__thread_self() && called && records() == 2 ? 0 : 1;
}
static void memory_hook_is_called_without_the_lock(void **state) {
    (void)state;
    assert_fresh("memory_hook_uses_the_library", 0, 0);
}

/* ---- The end of a thread --------------------------------------------------------------------- */

static char log_text[16]; /* of one thread at a time; joined before it is read */
static void log_letter(char letter) {
    size_t length = strlen(log_text);
    if (length + 1 < sizeof log_text) log_text[length] = letter;
}
static _Atomic(ambit__thread *) ending;
static void note(ambit__thread *thread, char letter) {
    if (thread != atomic_load(&ending)) return; /* the thread inside oldest_hook() */
    log_letter(atomic_load(&thread->alive) ? letter : '!');
}
static void oldest_hook(ambit__thread *thread) {
    note(thread, 'o');
    if (thread != atomic_load(&ending)) return;
    /* Another thread that comes now gets another record. */
    log_letter(on_thread(own_record, NULL) != thread ? 'd' : '!');
}
static void middle_hook(ambit__thread *thread) { note(thread, 'm'); }
static void newest_hook(ambit__thread *thread) { note(thread, 'n'); }
static void *end_logged(void *argument) {
    (void)argument;
    atomic_store(&ending, ambit__thread_self());
    return ambit__thread_self();
}
static int hooks_in_order(long unused) {
    (void)unused;
    ambit__thread_on_exit(oldest_hook);
    ambit__thread_on_exit(middle_hook);
    ambit__thread_on_exit(newest_hook);
    void *record = on_thread(end_logged, NULL);
    atomic_store(&ending, NULL);
    if (strcmp(log_text, "nmod") != 0) return puts(log_text), 1;
    return on_thread(own_record, NULL) == record ? 0 : 2; /* handed on, last given first */
}
static void exit_hooks_run_newest_first_while_the_record_is_still_theirs(void **state) {
    (void)state;
    assert_fresh("hooks_in_order", 0, 0);
}

static void nothing(ambit__thread *thread) { (void)thread; }
static int too_many_exit_hooks(long unused) {
    (void)unused;
    for (int i = 0; i < 9; i++) {
        if (i == 8) (void)fputs("the ninth\n", stderr);
        ambit__thread_on_exit(nothing);
    }
    return 0;
}
static void the_ninth_exit_hook_stops(void **state) {
    (void)state;
    fresh_end end = fresh_run("too_many_exit_hooks", 0);
    assert_int_equal(end.signal, SIGABRT);
    assert_non_null(
        strstr(end.text, "the ninth\nambit: ambit__thread_on_exit: expected at most 8"));
}

/* A key of the program whose destructor uses ambit, in as many rounds as it is told. */
static pthread_key_t program_key;
static _Thread_local long rounds;
static _Thread_local ambit__thread *record_of_life;
static _Atomic(int) found_in_place, found_working;
static void destructor_of_the_program(void *value) {
    if (ambit__thread_record == record_of_life) atomic_fetch_add(&found_in_place, 1);
    if (!open_a_context(NULL)) atomic_fetch_add(&found_working, 1);
    if (--rounds > 0) (void)pthread_setspecific(program_key, value);
}
static void *end_with_destructor(void *argument) {
    rounds = *(long *)argument;
    record_of_life = ambit__thread_self();
    (void)pthread_setspecific(program_key, argument);
    return record_of_life;
}
/* argument: rounds * 2 + 1 if the program's key is older than ambit's. */
static int destructor_uses_ambit(long argument) {
    long wanted = argument / 2;
    if (argument % 2 == 0) (void)ambit__thread_self();
    (void)pthread_key_create(&program_key, destructor_of_the_program);
    (void)on_thread(end_with_destructor, &wanted);
    int working = atomic_load(&found_working), in_place = atomic_load(&found_in_place);
    int made = records();
    for (int i = 1; i < 50; i++) (void)on_thread(end_with_destructor, &wanted);
    if (working != wanted || atomic_load(&found_working) != 50 * wanted) return 1;
    if (in_place < (wanted < 2 ? wanted : 2)) return 2; /* the promised two rounds */
    int alive = 0;
    for (ambit__thread *at = ambit__thread_records(); at; at = at->next)
        alive += (int)atomic_load(&at->alive);
    return records() != made ? 3 : alive > 1 ? 4 : 0;
}
static void destructor_of_the_program_may_use_ambit(void **state) {
    (void)state;
    /* ThreadSanitizer has taken its leave of the thread before the fourth round. */
    long most = BUILD_TSAN ? 2 : 3;
    for (long times = 1; times <= most; times++) {
        assert_fresh("destructor_uses_ambit", times * 2, 0);
        assert_fresh("destructor_uses_ambit", times * 2 + 1, 0);
    }
    if (!BUILD_TSAN) assert_fresh("destructor_uses_ambit", 4 * 2 + 1, 0);
}

/* ---- Churn ----------------------------------------------------------------------------------- */

static void never(void *argument) { (void)argument; }

static void *use_everything(void *argument) {
    ambit_ctx *ctx = NULL;
    ambit_timer timer;
    intptr_t failed = ambit_ctx_open(ambit_background(), &ctx) ||
                      ambit_timer_arm(AMBIT_NEVER, never, NULL, &timer) || ambit__rcu_register();
    if (argument) (void)pthread_barrier_wait(argument);
    if (failed) return (void *)failed;
    ambit__rcu_read_lock();
    ambit__rcu_read_unlock();
    failed = ambit_timer_disarm(timer) != AMBIT_DISARMED;
    ambit_ctx_close(&ctx);
    return (void *)failed;
}
static void some_threads_come_and_go(pthread_barrier_t *meeting) {
    pthread_t threads[ALIVE];
    for (int i = 0; i < ALIVE; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_everything, meeting), 0);
    for (int i = 0; i < ALIVE; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
}
static void memory_is_flat_while_a_hundred_thousand_threads_come_and_go(void **state) {
    (void)state;
    ambit_memory_stats warm, then;
    assert_int_equal(pthread_barrier_init(&together, NULL, ALIVE), 0);
    /* Warm is when as many have lived at once as ever will. */
    for (int i = 0; i < WARM; i += ALIVE) some_threads_come_and_go(&together);
    int made = records();
    ambit_memory_stats_read(&warm);
    for (int i = 0; i < CHURN; i += ALIVE) some_threads_come_and_go(NULL);
    ambit_memory_stats_read(&then);
    assert_int_equal(records(), made);
    assert_int_equal(then.live_bytes, warm.live_bytes);
    assert_int_equal(then.allocations, warm.allocations);
    (void)pthread_barrier_destroy(&together);
    ambit_timer_stop();
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static void *own_id(void *argument) {
    (void)argument;
    uintptr_t id = ambit__thread_id();
    return id == ambit__thread_id() ? (void *)id : NULL;
}
static void ids_of_living_threads_differ(void **state) {
    (void)state;
    uintptr_t mine = ambit__thread_id(), other = (uintptr_t)on_thread(own_id, NULL);
    assert_true(mine != 0 && other != 0 && mine != other);
    assert_int_equal(mine, ambit__thread_id());
}

static long next_tid;
static long tell_tid(long number, const long *arguments) {
    (void)arguments;
    return number == SYS_gettid ? next_tid : KERNEL_PASS;
}
/* The kernel's numbers are ours here: 1000 forks 1001, and a thread of that gets 1000 again. */
static int id_after_fork(long unused) {
    (void)unused;
    kernel_answers(tell_tid);
    next_tid = 1000;
    if (ambit__thread_id() != 1000) return 1;
    next_tid = 1001;
    pid_t child = fork();
    if (child == 0) {
        if (ambit__thread_id() != 1000) _exit(2);
        next_tid = 1000;
        if ((uintptr_t)on_thread(own_id, NULL) != 1001) _exit(3);
        next_tid = 1002;
        if ((uintptr_t)on_thread(own_id, NULL) != 1002) _exit(4);
        _exit(0);
    }
    int status = 0;
    (void)waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 5;
}
static void id_is_kept_over_a_fork_and_given_to_nobody_else(void **state) {
    (void)state;
    assert_fresh("id_after_fork", 0, 0);
}

static void threads_that_did_not_fork_are_not_alive(void **state) {
    (void)state;
    ambit__thread *mine = ambit__thread_self();
    pthread_t other;
    assert_int_equal(pthread_barrier_init(&together, NULL, 2), 0);
    assert_int_equal(pthread_create(&other, NULL, use_everything, &together), 0);
    int others = 0;
    while (!others) /* until it has its record, and then it waits */
        for (ambit__thread *at = ambit__thread_records(); at; at = at->next)
            others += at != mine && atomic_load(&at->alive);
    pid_t child = fork();
    if (child == 0) {
        for (ambit__thread *at = ambit__thread_records(); at; at = at->next)
            if (atomic_load(&at->alive) != (at == mine)) _exit(1);
        if (ambit__thread_self() != mine) _exit(2);
        _exit(on_thread(open_a_context, NULL) ? 3 : 0);
    }
    int status = 0;
    (void)pthread_barrier_wait(&together);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ambit_timer_stop();
}

int main(int count, char **arguments) {
    static const fresh_part parts[] = {
        {"no_key", no_key},
        {"memory_hook_uses_the_library", memory_hook_uses_the_library},
        {"hooks_in_order", hooks_in_order},
        {"too_many_exit_hooks", too_many_exit_hooks},
        {"destructor_uses_ambit", destructor_uses_ambit},
        {"id_after_fork", id_after_fork},
        {NULL, NULL},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_has_one_record_of_its_own),
        cmocka_unit_test(indices_are_dense_and_handed_on),
        cmocka_unit_test(no_slot_for_the_record_is_no_memory_and_loses_none),
        cmocka_unit_test(no_key_for_the_records_is_no_memory),
        cmocka_unit_test(memory_hook_is_called_without_the_lock),
        cmocka_unit_test(exit_hooks_run_newest_first_while_the_record_is_still_theirs),
        cmocka_unit_test(the_ninth_exit_hook_stops),
        cmocka_unit_test(destructor_of_the_program_may_use_ambit),
        cmocka_unit_test(memory_is_flat_while_a_hundred_thousand_threads_come_and_go),
        cmocka_unit_test(ids_of_living_threads_differ),
        cmocka_unit_test(id_is_kept_over_a_fork_and_given_to_nobody_else),
        cmocka_unit_test(threads_that_did_not_fork_are_not_alive),
    };
    fresh_enter(count, arguments, parts);
    if (count > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
