/* pthread_create() and what is done to threads. */
#include "wraps.h"

#include <sched.h>
#include <signal.h>
#include <unistd.h>

static int value;
static pthread_t shared_handle;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *returns_it(void *argument) { return argument; }

static void *exits_with_it(void *argument) { pthread_exit(argument); }

static void *writes(void *unused) {
    value++;
    return unused;
}

static void *reads(void *unused) {
    check(value == 1);
    return unused;
}

static void joins(void *unused) {
    (void)unused;
    void *returned = NULL;
    check(pthread_join(start(returns_it, &value), &returned) == 0);
    check(returned == &value);
    check(pthread_join(start(exits_with_it, &mutex), &returned) == 0);
    check(returned == &mutex);
    finish(start(writes, NULL));
    finish(start(reads, NULL));
    check(value == 1);
}

static void create_and_join_order_and_hand_over(void **state) {
    (void)state;
    assert_clean(joins);
}

/* A thread that `before` has joined is not taken for one of the schedule's. */
static void joins_two(void *unused) {
    (void)unused;
    finish(start(returns_it, NULL));
    finish(start(returns_it, NULL));
}

static void joins_are_not_those_of_before(void **state) {
    (void)state;
    const ambit_schedule_options options = {.before = joins_two, .schedules = 10, .quiet = true};
    assert_int_equal(ambit_schedule_run(joins_two, &options), 0);
}

static void writes_after_create(void *unused) {
    (void)unused;
    pthread_t thread = start(writes, NULL);
    value = 5;
    finish(thread);
}

static void what_the_creator_does_afterwards_is_unordered(void **state) {
    (void)state;
    assert_found(writes_after_create, AMBIT_SCHEDULE_RACE, "in writes()",
                 "in writes_after_create()");
}

static pthread_t two[2];

static void *knows_itself(void *index) {
    pthread_mutex_lock(&mutex);
    check(pthread_equal(pthread_self(), two[(intptr_t)index]));
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void handles(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    for (intptr_t i = 0; i < 2; i++)
        check(pthread_create(&two[i], NULL, knows_itself, (void *)i) == 0);
    pthread_mutex_unlock(&mutex);
    check(!pthread_equal(two[0], two[1]) && !pthread_equal(two[0], pthread_self()));
    finish(two[0]);
    finish(two[1]);
}

static void a_handle_is_what_the_thread_itself_is_told(void **state) {
    (void)state;
    assert_clean(handles);
}

static void *looks_at_the_shared_handle(void *unused) {
    value = shared_handle != 0;
    return unused;
}

static void handle_is_late(void *unused) {
    (void)unused;
    check(pthread_create(&shared_handle, NULL, looks_at_the_shared_handle, NULL) == 0);
    finish(shared_handle);
}

static void a_thread_may_run_before_its_handle_is_there(void **state) {
    (void)state;
    assert_found(handle_is_late, AMBIT_SCHEDULE_RACE, "looks_at_the_shared_handle");
}

static void joins_twice(void *unused) {
    (void)unused;
    pthread_t thread = start(returns_it, NULL);
    finish(thread);
    pthread_join(thread, NULL);
}

static pthread_t earlier, first;
static void joins_before(void *unused) {
    (void)unused;
    first = pthread_self();
    earlier = start(returns_it, NULL);
    finish(earlier);
}
static void joins_another(void *unused) {
    (void)unused;
    check(pthread_equal(first, pthread_self()));
    pthread_t thread = start(returns_it, NULL);
    check(!pthread_equal(thread, earlier));
    finish(thread);
}
static void joins_the_earlier_one(void *unused) {
    (void)unused;
    pthread_join(earlier, NULL);
}
static void threads_are_others_than_those_of_before(void **state) {
    (void)state;
    assert_clean(joins_another, .before = joins_before);
    play(joins_the_earlier_one, (ambit_schedule_options){.before = joins_before});
    found_as("earlier", AMBIT_SCHEDULE_MISUSE, (const char *[]){"has been joined already", NULL});
}

static void joins_itself(void *unused) {
    (void)unused;
    pthread_join(pthread_self(), NULL);
}

static void detaches_and_joins(void *unused) {
    (void)unused;
    pthread_t thread = start(returns_it, NULL);
    check(pthread_detach(thread) == 0);
    pthread_join(thread, NULL);
}

static void detaches_twice(void *unused) {
    (void)unused;
    pthread_t thread = start(returns_it, NULL);
    check(pthread_detach(thread) == 0);
    pthread_detach(thread);
}

static void joins_one_made_detached(void *unused) {
    (void)unused;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    check(pthread_create(&thread, &attributes, returns_it, NULL) == 0);
    pthread_attr_destroy(&attributes);
    pthread_join(thread, NULL);
}

static void *joins_the_shared(void *unused) {
    pthread_join(shared_handle, NULL);
    return unused;
}

static void two_join_it(void *unused) {
    (void)unused;
    shared_handle = start(returns_it, NULL);
    both(joins_the_shared, joins_the_shared);
}

static void joins_nobody(void *unused) {
    (void)unused;
    pthread_join(1234567, NULL);
}

static void joins_that_are_wrong_are_found(void **state) {
    (void)state;
    assert_found(joins_twice, AMBIT_SCHEDULE_MISUSE, "joined already", "in joins_twice(), and",
                 "in finish()");
    assert_found(joins_itself, AMBIT_SCHEDULE_MISUSE, "cannot join itself", "in joins_itself()");
    assert_found(detaches_and_joins, AMBIT_SCHEDULE_MISUSE, "is detached", "pthread_join",
                 "in detaches_and_joins(), and");
    assert_found(detaches_twice, AMBIT_SCHEDULE_MISUSE, "is detached", "pthread_detach");
    assert_found(joins_one_made_detached, AMBIT_SCHEDULE_MISUSE, "is detached");
    assert_found(two_join_it, AMBIT_SCHEDULE_MISUSE, "in joins_the_shared(), and");
    assert_some_found(two_join_it, AMBIT_SCHEDULE_MISUSE, "is joining it",
                      "in joins_the_shared(), and");
    assert_found(joins_nobody, AMBIT_SCHEDULE_MISUSE, "no such thread", "in joins_nobody()");
}

static void *joins_the_first(void *handle) {
    pthread_join(*(pthread_t *)handle, NULL);
    return NULL;
}

static void each_other(void *unused) {
    (void)unused;
    shared_handle = pthread_self();
    finish(start(joins_the_first, &shared_handle));
}

static void threads_that_join_each_other_are_found(void **state) {
    (void)state;
    assert_found(each_other, AMBIT_SCHEDULE_DEADLOCK, "join", "in finish()",
                 "in joins_the_first()");
}

static void *waits_for_the_mutex(void *unused) {
    pthread_mutex_lock(&mutex);
    value = 1;
    pthread_mutex_unlock(&mutex);
    return unused;
}

static void joins_in_vain(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    pthread_t thread = start(waits_for_the_mutex, NULL);
    check(pthread_tryjoin_np(thread, NULL) == EBUSY);
    struct timespec until = time_in(1000), never = NO_TIME;
    check(pthread_timedjoin_np(thread, NULL, &until) == ETIMEDOUT);
    check(has_come(until));
    check(pthread_timedjoin_np(thread, NULL, &never) == EINVAL);
    pthread_mutex_unlock(&mutex);
    until = time_in(1000000);
    check(pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) == 0);
    check(value == 1);
}

static void joins_by_trying(void *unused) {
    (void)unused;
    pthread_t thread = start(writes, NULL);
    while (pthread_tryjoin_np(thread, NULL)) continue;
    check(value == 1);
}

static void joins_with_a_time_end_in_time(void **state) {
    (void)state;
    assert_clean(joins_in_vain);
    assert_clean(joins_by_trying);
    assert_clean(joins_by_trying, .strategy = AMBIT_SCHEDULE_PCT);
}

static void leaves_them(void *unused) {
    (void)unused;
    (void)start(returns_it, NULL);
    (void)start(exits_with_it, NULL);
    check(pthread_detach(start(returns_it, NULL)) == 0);
    check(pthread_detach(pthread_self()) == 0);
}

static void *counts_late(void *unused) {
    pthread_mutex_lock(&mutex);
    value++;
    check(value != 2); /* fails: both have run, though the scenario had left */
    pthread_mutex_unlock(&mutex);
    return unused;
}

static void leaves_by_exit(void *unused) {
    (void)start(counts_late, NULL);
    (void)start(counts_late, NULL);
    pthread_exit(unused);
}

static void the_scenario_may_exit_before_its_threads(void **state) {
    (void)state;
    assert_happens(leaves_by_exit);
}

static void a_thread_need_not_be_joined(void **state) {
    (void)state;
    assert_clean(leaves_them);
}

static void asks_for_one_made_detached(void *unused) {
    (void)unused;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    check(pthread_create(&thread, &attributes, returns_it, NULL) == 0);
    pthread_attr_destroy(&attributes);
    ambit_schedule_yield();
    pthread_kill(thread, 0);
}

static void asks_for_one_that_was_detached(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    pthread_t thread = start(waits_for_the_mutex, NULL);
    pthread_detach(thread);
    pthread_mutex_unlock(&mutex);
    ambit_schedule_yield();
    pthread_kill(thread, 0);
}

static void asks_for_one_detached_at_its_end(void *unused) {
    (void)unused;
    pthread_t thread = start(returns_it, NULL);
    while (pthread_kill(thread, 0) == 0) ambit_schedule_yield();
    pthread_detach(thread);
    pthread_kill(thread, 0);
}

static void a_detached_thread_is_gone_at_its_end(void **state) {
    (void)state;
    assert_found(asks_for_one_made_detached, AMBIT_SCHEDULE_MISUSE, "no such thread");
    assert_found(asks_for_one_that_was_detached, AMBIT_SCHEDULE_MISUSE, "no such thread");
    assert_found(asks_for_one_detached_at_its_end, AMBIT_SCHEDULE_MISUSE, "no such thread");
}

static void many_after_another(void *unused) {
    (void)unused;
    for (int i = 0; i < 40; i++) finish(start(writes, NULL));
    check(value == 40);
}

static void ten_at_once(void *unused) {
    (void)unused;
    for (int i = 0; i < 9; i++) (void)start(returns_it, NULL);
}

static void ten_threads_at_once_are_too_many(void **state) {
    (void)state;
    assert_clean(many_after_another);
    assert_found(ten_at_once, AMBIT_SCHEDULE_UNSUPPORTED, "too many threads", "at most 8");
}

static void *has_a_name(void *unused) {
    char name[16];
    check(pthread_getname_np(pthread_self(), name, sizeof name) == 0 && !*name);
    check(pthread_setname_np(pthread_self(), "sixteen letters!") == ERANGE);
    check(pthread_setname_np(pthread_self(), "worker") == 0);
    check(pthread_getname_np(pthread_self(), name, sizeof name) == 0);
    check(strcmp(name, "worker") == 0);
    check(pthread_getname_np(pthread_self(), name, 2) == ERANGE);
    return unused;
}

static void names(void *unused) {
    (void)unused;
    finish(start(has_a_name, NULL));
    finish(start(has_a_name, NULL)); /* in the place of the other, and without its name */
}

static void *locks_named(void *unused) {
    pthread_setname_np(pthread_self(), "keeper");
    pthread_mutex_lock(&mutex);
    ambit_schedule_yield();
    pthread_mutex_unlock(&mutex);
    return unused;
}

static void unlocks_of_named(void *unused) {
    (void)unused;
    pthread_t thread = start(locks_named, NULL);
    ambit_schedule_yield();
    (void)pthread_mutex_trylock(&mutex); /* whoever has it now */
    pthread_mutex_unlock(&mutex);
    finish(thread);
}

static void threads_have_names(void **state) {
    (void)state;
    assert_clean(names);
    assert_found(unlocks_of_named, AMBIT_SCHEDULE_MISUSE, "thread 1 (keeper) holds the mutex");
}

static void *has_a_number(void *of_the_first) {
    check(gettid() != *(pid_t *)of_the_first);
    check(sched_getcpu() >= 0);
    return NULL;
}

static void *has_processor_0(void *unused) {
    value = 1;
    check(sched_getcpu() == 0);
    return unused;
}

static void numbers(void *unused) {
    (void)unused;
    pid_t mine = gettid();
    check(mine == gettid());
    finish(start(has_a_number, &mine));
}

static void on_a_processor(void *unused) { finish(start(has_processor_0, unused)); }

static void threads_have_numbers_and_move_between_processors(void **state) {
    (void)state;
    assert_clean(numbers);
    if (sysconf(_SC_NPROCESSORS_CONF) > 1) assert_happens(on_a_processor);
}

static void silent(void *unused) {
    (void)unused;
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    check(pthread_sigmask(SIG_BLOCK, &set, &old) == 0 && !sigismember(&old, SIGUSR1));
    check(pthread_sigmask(SIG_UNBLOCK, &set, &old) == 0 && sigismember(&old, SIGUSR1));
    check(pthread_sigmask(SIG_SETMASK, NULL, &old) == 0 && !sigismember(&old, SIGUSR1));
    check(pthread_sigmask(99, &set, NULL) == EINVAL);
    int before = -1;
    check(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before) == 0);
    check(before == PTHREAD_CANCEL_ENABLE);
    check(pthread_setcancelstate(7, NULL) == EINVAL);
    pthread_testcancel();
    check(pthread_atfork(NULL, NULL, NULL) == 0);
    check(pthread_kill(pthread_self(), 0) == 0);
    cpu_set_t processors;
    check(pthread_getaffinity_np(pthread_self(), sizeof processors, &processors) == 0);
    check(CPU_ISSET(0, &processors));
    check(pthread_setaffinity_np(pthread_self(), sizeof processors, &processors) == 0);
    pthread_attr_t attributes;
    void *low;
    size_t bytes;
    check(pthread_getattr_np(pthread_self(), &attributes) == 0);
    check(pthread_attr_getstack(&attributes, &low, &bytes) == 0);
    check((char *)&bytes > (char *)low && (char *)&bytes < (char *)low + bytes);
    pthread_attr_destroy(&attributes);
}

static void what_makes_no_difference_is_accepted(void **state) {
    (void)state;
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_clean(silent);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(sigismember(&before, SIGUSR1), sigismember(&after, SIGUSR1));
}

static void kills(void *unused) {
    (void)unused;
    pthread_kill(pthread_self(), SIGUSR1);
}

static void cancels(void *unused) {
    (void)unused;
    pthread_cancel(start(returns_it, NULL));
}

static void signals_and_cancellation_are_refused_by_name(void **state) {
    (void)state;
    assert_found(kills, AMBIT_SCHEDULE_UNSUPPORTED, "pthread_kill", "in kills()");
    assert_found(cancels, AMBIT_SCHEDULE_UNSUPPORTED, "pthread_cancel", "in cancels()");
}

static void adds(void *what) { value = value * 10 + (int)(intptr_t)what; }

static void exits_deep_inside(void) {
    pthread_cleanup_push(adds, (void *)1);
    pthread_exit(&value);
    pthread_cleanup_pop(0);
}

static void *cleans_up(void *unused) {
    pthread_cleanup_push(adds, (void *)9);
    pthread_cleanup_pop(0);
    pthread_cleanup_push(adds, (void *)3);
    pthread_cleanup_push(adds, (void *)2);
    exits_deep_inside();
    pthread_cleanup_pop(0);
    pthread_cleanup_pop(0);
    return unused;
}

static void cleanups(void *unused) {
    (void)unused;
    void *returned;
    check(pthread_join(start(cleans_up, NULL), &returned) == 0);
    check(returned == &value);
    check(value == 123);
}

static void what_was_pushed_for_cleanup_runs_at_the_end(void **state) {
    (void)state;
    assert_clean(cleanups);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_and_join_order_and_hand_over),
        cmocka_unit_test(joins_are_not_those_of_before),
        cmocka_unit_test(what_the_creator_does_afterwards_is_unordered),
        cmocka_unit_test(a_handle_is_what_the_thread_itself_is_told),
        cmocka_unit_test(a_thread_may_run_before_its_handle_is_there),
        cmocka_unit_test(joins_that_are_wrong_are_found),
        cmocka_unit_test(threads_are_others_than_those_of_before),
        cmocka_unit_test(threads_that_join_each_other_are_found),
        cmocka_unit_test(joins_with_a_time_end_in_time),
        cmocka_unit_test(the_scenario_may_exit_before_its_threads),
        cmocka_unit_test(a_thread_need_not_be_joined),
        cmocka_unit_test(a_detached_thread_is_gone_at_its_end),
        cmocka_unit_test(ten_threads_at_once_are_too_many),
        cmocka_unit_test(threads_have_names),
        cmocka_unit_test(threads_have_numbers_and_move_between_processors),
        cmocka_unit_test(what_makes_no_difference_is_accepted),
        cmocka_unit_test(signals_and_cancellation_are_refused_by_name),
        cmocka_unit_test(what_was_pushed_for_cleanup_runs_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
