/* pthread_mutex_*. */
#include "wraps.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, other = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t made;
static int counter;

static void make(pthread_mutex_t *of, int type, int robust) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, type);
    pthread_mutexattr_setrobust(&attributes, robust);
    check(pthread_mutex_init(of, &attributes) == 0);
    pthread_mutexattr_destroy(&attributes);
}

static void *locks_it(void *of) {
    check(pthread_mutex_lock(of ? of : &mutex) == 0);
    return NULL;
}

static void *unlocks_it(void *of) {
    check(pthread_mutex_unlock(of ? of : &mutex) == 0);
    return NULL;
}

static void *counts(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    int before = counter;
    ambit_schedule_yield();
    counter = before + 1;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void excludes(void *unused) {
    (void)unused;
    both(counts, counts);
    check(counter == 2);
}

static void a_mutex_excludes_and_orders(void **state) {
    (void)state;
    assert_clean(excludes);
    assert_clean(excludes, .strategy = AMBIT_SCHEDULE_EXHAUSTIVE);
    assert_true(played.complete);
}

static void *tries_to_count(void *unused) {
    (void)unused;
    while (pthread_mutex_trylock(&mutex)) continue;
    counter++;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void excludes_by_trying(void *unused) {
    (void)unused;
    both(tries_to_count, tries_to_count);
    check(counter == 2);
}

static void a_trylock_excludes_and_a_loop_of_them_is_no_livelock(void **state) {
    (void)state;
    assert_clean(excludes_by_trying);
    assert_clean(excludes_by_trying, .strategy = AMBIT_SCHEDULE_PCT);
}

static void *writes_then_locks(void *unused) {
    counter = 1;
    (void)locks_it(NULL);
    return unlocks_it(unused);
}

static void *reads_if_it_is_locked(void *unused) {
    if (pthread_mutex_trylock(&mutex) == EBUSY)
        check(counter == 1);
    else
        pthread_mutex_unlock(&mutex);
    return unused;
}

static void failed_trylock(void *unused) {
    (void)unused;
    both(writes_then_locks, reads_if_it_is_locked);
}

static void a_trylock_that_fails_orders_nothing(void **state) {
    (void)state;
    assert_found(failed_trylock, AMBIT_SCHEDULE_RACE, "reads_if_it_is_locked", "writes_then_locks");
}

static void *one_then_other(void *unused) {
    (void)locks_it(&mutex), (void)locks_it(&other);
    (void)unlocks_it(&other), (void)unlocks_it(&mutex);
    return unused;
}

static void *other_then_one(void *unused) {
    (void)locks_it(&other), (void)locks_it(&mutex);
    (void)unlocks_it(&mutex), (void)unlocks_it(&other);
    return unused;
}

static void crosswise(void *unused) {
    (void)unused;
    both(one_then_other, other_then_one);
}

static void in_line(void *unused) {
    (void)unused;
    both(one_then_other, one_then_other);
}

static void two_locks_taken_crosswise_are_a_dead_lock(void **state) {
    (void)state;
    assert_found(crosswise, AMBIT_SCHEDULE_DEADLOCK, "dead lock");
    assert_clean(in_line);
}

static void locks_twice(void *unused) {
    (void)unused;
    (void)locks_it(NULL), (void)locks_it(NULL);
}

static void a_normal_mutex_locked_twice_is_a_dead_lock(void **state) {
    (void)state;
    assert_found(locks_twice, AMBIT_SCHEDULE_DEADLOCK, "in locks_it()");
}

static void is_locked_by_one_that_ended(void *unused) {
    (void)unused;
    finish(start(locks_it, NULL));
    (void)start(counts, NULL); /* in the place of the other */
    pthread_mutex_lock(&mutex);
}

static void a_mutex_of_a_thread_that_ended_stays_locked(void **state) {
    (void)state;
    assert_found(is_locked_by_one_that_ended, AMBIT_SCHEDULE_DEADLOCK, "dead lock");
}

static void recursive(void *unused) {
    (void)unused;
    make(&made, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED);
    (void)locks_it(&made), (void)locks_it(&made);
    check(pthread_mutex_trylock(&made) == 0);
    pthread_t thread = start(locks_it, &made);
    counter++;
    (void)unlocks_it(&made), (void)unlocks_it(&made);
    counter--;
    (void)unlocks_it(&made);
    finish(thread);
    check(pthread_mutex_unlock(&made) == EPERM);
}

static void *sees_it_whole(void *unused) {
    (void)locks_it(&made);
    check(!counter);
    return unlocks_it(unused ? unused : &made);
}

static void recursive_in_parts(void *unused) {
    (void)unused;
    make(&made, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED);
    pthread_t thread = start(sees_it_whole, NULL);
    (void)locks_it(&made), (void)locks_it(&made);
    counter++;
    (void)unlocks_it(&made);
    counter--;
    (void)unlocks_it(&made);
    finish(thread);
    check(pthread_mutex_destroy(&made) == 0);
}

static void a_recursive_mutex_is_free_after_as_many_unlocks(void **state) {
    (void)state;
    assert_clean(recursive);
    assert_clean(recursive_in_parts);
}

static pthread_mutex_t checking = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;

static void *is_refused(void *unused) {
    check(pthread_mutex_unlock(&checking) == EPERM);
    return unused;
}

static void answers(void *unused) {
    (void)unused;
    check(pthread_mutex_unlock(&checking) == EPERM);
    (void)locks_it(&checking);
    check(pthread_mutex_lock(&checking) == EDEADLK);
    check(pthread_mutex_trylock(&checking) == EBUSY);
    finish(start(is_refused, NULL));
    (void)unlocks_it(&checking);
}

static void an_error_checking_mutex_answers(void **state) {
    (void)state;
    assert_clean(answers);
}

static void *tries_until(void *unused) {
    struct timespec until = time_in(1500);
    check(pthread_mutex_timedlock(&mutex, &until) == ETIMEDOUT);
    check(has_come(until));
    struct timespec never = NO_TIME;
    check(pthread_mutex_timedlock(&mutex, &never) == EINVAL);
    check(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &until) == ETIMEDOUT);
    check(pthread_mutex_clocklock(&mutex, CLOCK_PROCESS_CPUTIME_ID, &until) == EINVAL);
    return unused;
}

static void times_out(void *unused) {
    (void)unused;
    (void)locks_it(NULL);
    finish(start(tries_until, NULL));
    (void)unlocks_it(NULL);
    struct timespec past = {0}, never = NO_TIME;
    check(pthread_mutex_timedlock(&mutex, &past) == 0); /* it need not wait */
    (void)unlocks_it(NULL);
    check(pthread_mutex_timedlock(&mutex, &never) == 0);
    (void)unlocks_it(NULL);
}

static void a_timed_lock_ends_in_time(void **state) {
    (void)state;
    assert_clean(times_out);
}

static void *gets_it_in_time(void *unused) {
    struct timespec until = {INT64_MAX, 0};
    check(pthread_mutex_timedlock(&mutex, &until) == 0);
    counter++;
    return unlocks_it(unused);
}

static void in_time(void *unused) {
    (void)unused;
    both(gets_it_in_time, counts);
    check(counter == 2);
}

static void a_timed_lock_excludes(void **state) {
    (void)state;
    assert_clean(in_time);
}

static void *dies_with_it(void *unused) {
    (void)locks_it(&made);
    counter = 1;
    return unused;
}

static void robust(void *unused) {
    (void)unused;
    make(&made, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
    pthread_t thread = start(dies_with_it, NULL);
    int error = pthread_mutex_lock(&made);
    check(error == 0 || error == EOWNERDEAD);
    if (error) {
        check(counter == 1);
        check(pthread_mutex_consistent(&made) == 0);
    }
    (void)unlocks_it(&made);
    finish(thread);
    error = pthread_mutex_lock(&made);
    if (!error) return;
    check(error == EOWNERDEAD);
    (void)unlocks_it(&made); /* without a word that it is in order */
    check(pthread_mutex_lock(&made) == ENOTRECOVERABLE);
}

static void a_robust_mutex_outlives_its_owner(void **state) {
    (void)state;
    assert_clean(robust);
}

static void unlocked_by_a_stranger(void *unused) {
    (void)unused;
    (void)locks_it(NULL);
    finish(start(unlocks_it, NULL));
}

static void unlocked_by_the_next_in_its_place(void *unused) {
    (void)unused;
    finish(start(locks_it, NULL));
    finish(start(unlocks_it, NULL));
}

static void unlocked_twice(void *unused) {
    (void)unused;
    (void)counts(NULL);
    (void)unlocks_it(NULL);
}

static void never_locked(void *unused) { (void)unlocks_it(unused); }

static void an_unlock_of_what_is_not_ones_own_is_found(void **state) {
    (void)state;
    assert_found(unlocked_by_a_stranger, AMBIT_SCHEDULE_MISUSE, "pthread_mutex_unlock", "thread 0",
                 "in unlocks_it(), and", "in locks_it()");
    assert_found(unlocked_by_the_next_in_its_place, AMBIT_SCHEDULE_MISUSE,
                 "thread 1, which has ended, holds", "in unlocks_it(), and", "in locks_it()");
    assert_found(unlocked_twice, AMBIT_SCHEDULE_MISUSE, "nobody holds", "in unlocks_it(), and",
                 "in counts()");
    assert_found(never_locked, AMBIT_SCHEDULE_MISUSE, "nobody has ever locked", "in unlocks_it()");
}

static void *destroys_it(void *of) {
    pthread_mutex_destroy(of ? of : &mutex);
    return NULL;
}

static void destroyed_while_locked(void *unused) {
    (void)unused;
    (void)locks_it(NULL);
    (void)destroys_it(NULL);
}

static void used_after_its_end(void *unused) {
    (void)unused;
    (void)destroys_it(NULL);
    (void)locks_it(NULL);
}

static void destroyed_twice(void *unused) {
    (void)unused;
    (void)destroys_it(NULL);
    (void)destroys_it(NULL);
}

static void destroyed_beside_a_lock(void *unused) {
    (void)unused;
    make(&made, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
    pthread_t thread = start(sees_it_whole, NULL);
    (void)destroys_it(&made);
    finish(thread);
}

static void a_destroyed_mutex_is_watched(void **state) {
    (void)state;
    assert_found(destroyed_while_locked, AMBIT_SCHEDULE_MISUSE, "thread 0 holds the mutex",
                 "in destroys_it(), and", "in locks_it()");
    assert_found(used_after_its_end, AMBIT_SCHEDULE_MISUSE, "has been destroyed",
                 "in locks_it(), and", "in destroys_it()");
    assert_found(destroyed_twice, AMBIT_SCHEDULE_MISUSE, "has been destroyed",
                 "in destroys_it(), and");
    play(destroyed_beside_a_lock, (ambit_schedule_options){0});
    assert_true(played.failure == AMBIT_SCHEDULE_MISUSE || played.failure == AMBIT_SCHEDULE_RACE);
}

static void uses_its_own(void) {
    pthread_mutex_t local = PTHREAD_MUTEX_INITIALIZER;
    (void)locks_it(&local);
    (void)unlocks_it(&local);
    check(pthread_mutex_destroy(&local) == 0);
}

static void made_again(void *unused) {
    (void)unused;
    uses_its_own();
    uses_its_own();
    for (int i = 0; i < 2; i++) {
        make(&made, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
        (void)locks_it(&made), (void)unlocks_it(&made);
        (void)destroys_it(&made);
    }
}

static void a_destroyed_mutex_can_be_made_again(void **state) {
    (void)state;
    assert_clean(made_again);
}

static void of_garbage(void *unused) {
    (void)unused;
    pthread_mutex_t local;
    memset(&local, 0x55, sizeof local);
    (void)locks_it(&local);
}

static void garbage_is_no_mutex(void **state) {
    (void)state;
    assert_found(of_garbage, AMBIT_SCHEDULE_MISUSE, "never initialised", "in locks_it()");
}

static void in_heap(bool make_it, bool free_it) {
    pthread_mutex_t *heap = malloc(sizeof *heap);
    check(heap != NULL);
    if (make_it) make(heap, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
    if (free_it) free(heap);
    (void)locks_it(heap), (void)unlocks_it(heap);
    free(heap);
}

static void made_in_heap(void *unused) {
    (void)unused;
    in_heap(true, false);
}

static void never_made_in_heap(void *unused) {
    (void)unused;
    in_heap(false, false);
}

static void freed_in_heap(void *unused) {
    (void)unused;
    in_heap(true, true);
}

static void the_memory_of_a_mutex_is_watched(void **state) {
    (void)state;
    assert_clean(made_in_heap);
    assert_found(never_made_in_heap, AMBIT_SCHEDULE_UNINITIALISED, "in locks_it()");
    assert_found(freed_in_heap, AMBIT_SCHEDULE_USE_AFTER_FREE, "in locks_it()");
}

static void leaves_it_locked(void *unused) { (void)locks_it(unused); }
static void unlocks(void *unused) { (void)unlocks_it(unused); }

static void what_was_done_before_the_schedules_stands(void **state) {
    (void)state;
    assert_clean(unlocks, .before = leaves_it_locked);
}

static void is_robust(void *unused) {
    (void)unused;
    finish(start(dies_with_it, NULL));
    check(pthread_mutex_lock(&made) == EOWNERDEAD);
}

static void recurses(void *unused) {
    (void)unused;
    (void)locks_it(&made), (void)locks_it(&made);
}

static void a_mutex_made_before_keeps_its_kind(void **state) {
    (void)state;
    make(&made, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
    assert_clean(is_robust);
    assert_int_equal(pthread_mutex_destroy(&made), 0);
    make(&made, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED);
    assert_clean(recurses);
    assert_int_equal(pthread_mutex_destroy(&made), 0);
}

static void outside_of_schedules_mutexes_are_real(void **state) {
    (void)state;
    assert_int_equal(pthread_mutex_lock(&mutex), 0);
    assert_int_equal(pthread_mutex_trylock(&mutex), EBUSY);
    assert_found(locks_twice, AMBIT_SCHEDULE_MISUSE, "before the schedule");
    assert_int_equal(pthread_mutex_unlock(&mutex), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mutex_excludes_and_orders),
        cmocka_unit_test(a_trylock_excludes_and_a_loop_of_them_is_no_livelock),
        cmocka_unit_test(a_trylock_that_fails_orders_nothing),
        cmocka_unit_test(two_locks_taken_crosswise_are_a_dead_lock),
        cmocka_unit_test(a_normal_mutex_locked_twice_is_a_dead_lock),
        cmocka_unit_test(a_mutex_of_a_thread_that_ended_stays_locked),
        cmocka_unit_test(a_recursive_mutex_is_free_after_as_many_unlocks),
        cmocka_unit_test(an_error_checking_mutex_answers),
        cmocka_unit_test(a_timed_lock_ends_in_time),
        cmocka_unit_test(a_timed_lock_excludes),
        cmocka_unit_test(a_robust_mutex_outlives_its_owner),
        cmocka_unit_test(an_unlock_of_what_is_not_ones_own_is_found),
        cmocka_unit_test(a_destroyed_mutex_is_watched),
        cmocka_unit_test(a_destroyed_mutex_can_be_made_again),
        cmocka_unit_test(garbage_is_no_mutex),
        cmocka_unit_test(the_memory_of_a_mutex_is_watched),
        cmocka_unit_test(a_mutex_made_before_keeps_its_kind),
        cmocka_unit_test(what_was_done_before_the_schedules_stands),
        cmocka_unit_test(outside_of_schedules_mutexes_are_real),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
