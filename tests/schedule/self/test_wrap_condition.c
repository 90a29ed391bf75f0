/* pthread_cond_*. */
#include "wraps.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, other = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int filled, taken, first;

static void wait_for_it(void) { check(pthread_cond_wait(&condition, &mutex) == 0); }

static void *fills(void *unused) {
    pthread_mutex_lock(&mutex);
    filled++;
    check(pthread_cond_signal(&condition) == 0);
    pthread_mutex_unlock(&mutex);
    return unused;
}

static void *takes(void *unused) {
    pthread_mutex_lock(&mutex);
    while (!filled) wait_for_it();
    filled--;
    taken++;
    pthread_mutex_unlock(&mutex);
    return unused;
}

static void hands_over(void *unused) {
    (void)unused;
    both(takes, fills);
    check(taken == 1);
}

static void two_hand_over(void *unused) {
    (void)unused;
    pthread_t threads[] = {start(takes, NULL), start(fills, NULL), start(takes, NULL),
                           start(fills, NULL)};
    for (int i = 0; i < 4; i++) finish(threads[i]);
    check(taken == 2);
}

static void a_wait_with_a_predicate_is_clean(void **state) {
    (void)state;
    assert_clean(hands_over);
    assert_clean(hands_over, .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .no_spurious = true);
    assert_true(played.complete);
    assert_clean(two_hand_over);
}

static void *takes_too_late(void *unused) {
    pthread_mutex_lock(&mutex);
    bool empty = !filled;
    pthread_mutex_unlock(&mutex);
    pthread_mutex_lock(&mutex);
    if (empty) wait_for_it();
    pthread_mutex_unlock(&mutex);
    return unused;
}

static void looks_before_it_locks(void *unused) {
    (void)unused;
    both(takes_too_late, fills);
}

static void a_signal_before_the_wait_is_a_lost_wakeup(void **state) {
    (void)state;
    assert_found(looks_before_it_locks, AMBIT_SCHEDULE_LOST_WAKEUP, "lost wake-up");
    play(looks_before_it_locks, (ambit_schedule_options){.strategy = AMBIT_SCHEDULE_EXHAUSTIVE});
    assert_int_equal(played.failure, AMBIT_SCHEDULE_LOST_WAKEUP);
}

static int atomic_flag_of_it;

static void *fills_without_the_mutex(void *unused) {
    __atomic_store_n(&atomic_flag_of_it, 1, __ATOMIC_RELEASE);
    pthread_cond_signal(&condition);
    return unused;
}

static void *takes_what_has_no_mutex(void *unused) {
    pthread_mutex_lock(&mutex);
    while (!__atomic_load_n(&atomic_flag_of_it, __ATOMIC_ACQUIRE)) wait_for_it();
    pthread_mutex_unlock(&mutex);
    return unused;
}

static void signals_beside_the_mutex(void *unused) {
    (void)unused;
    both(takes_what_has_no_mutex, fills_without_the_mutex);
}

static void a_change_beside_the_mutex_is_a_lost_wakeup(void **state) {
    (void)state;
    assert_found(signals_beside_the_mutex, AMBIT_SCHEDULE_LOST_WAKEUP, "lost wake-up");
    play(signals_beside_the_mutex,
         (ambit_schedule_options){.strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .no_spurious = true});
    assert_int_equal(played.failure, AMBIT_SCHEDULE_LOST_WAKEUP);
}

static void *takes_without_a_loop(void *unused) {
    pthread_mutex_lock(&mutex);
    if (!filled) wait_for_it();
    check(filled);
    pthread_mutex_unlock(&mutex);
    return unused;
}

static void has_no_loop(void *unused) {
    (void)unused;
    both(takes_without_a_loop, fills);
}

static void a_wait_without_a_loop_is_found_unless_told_otherwise(void **state) {
    (void)state;
    assert_found(has_no_loop, AMBIT_SCHEDULE_ASSERTION, "filled");
    assert_clean(has_no_loop, .no_spurious = true);
}

static void *waits_once(void *index) {
    pthread_mutex_lock(&mutex);
    filled++;
    wait_for_it();
    if (!first) first = (int)(intptr_t)index;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void wake_those_two(int (*wake)(pthread_cond_t *), int times) {
    pthread_t one = start(waits_once, (void *)1), two = start(waits_once, (void *)2);
    for (bool both_wait = false; !both_wait;) {
        pthread_mutex_lock(&mutex);
        both_wait = filled == 2;
        if (both_wait)
            for (int i = 0; i < times; i++) wake(&condition);
        pthread_mutex_unlock(&mutex);
        ambit_schedule_yield();
    }
    finish(one);
    finish(two);
}

static void signals_once(void *unused) {
    (void)unused;
    wake_those_two(pthread_cond_signal, 1);
}

static void signals_twice(void *unused) {
    (void)unused;
    wake_those_two(pthread_cond_signal, 2);
}

static void broadcasts(void *unused) {
    (void)unused;
    wake_those_two(pthread_cond_broadcast, 1);
}

static void a_signal_wakes_one_and_a_broadcast_all(void **state) {
    (void)state;
    play(signals_once, (ambit_schedule_options){.no_spurious = true});
    assert_int_equal(played.failure, AMBIT_SCHEDULE_LOST_WAKEUP);
    assert_clean(signals_twice, .no_spurious = true);
    assert_clean(broadcasts, .no_spurious = true);
}

static void *notes_if_woken(void *index) {
    pthread_mutex_lock(&mutex);
    filled++;
    struct timespec until = time_in(1000000);
    if (pthread_cond_timedwait(&condition, &mutex, &until) == 0) first = (int)(intptr_t)index;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

/* They wait in the order of their numbers; one signal. */
static void wakes_one_of_two(int unwanted) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        threads[i] = start(notes_if_woken, (void *)(intptr_t)(i + 1));
        for (bool waits = false; !waits; ambit_schedule_yield()) {
            pthread_mutex_lock(&mutex);
            waits = filled == i + 1;
            pthread_mutex_unlock(&mutex);
        }
    }
    pthread_cond_signal(&condition);
    for (int i = 0; i < 2; i++) finish(threads[i]);
    check(first != unwanted);
}

static void not_the_first(void *unused) {
    (void)unused;
    wakes_one_of_two(1);
}

static void not_the_second(void *unused) {
    (void)unused;
    wakes_one_of_two(2);
}

static void a_signal_wakes_any_of_them(void **state) {
    (void)state;
    play(not_the_first, (ambit_schedule_options){.no_spurious = true});
    assert_int_equal(played.failure, AMBIT_SCHEDULE_ASSERTION);
    play(not_the_second, (ambit_schedule_options){.no_spurious = true});
    assert_int_equal(played.failure, AMBIT_SCHEDULE_ASSERTION);
}

static void *signals_after_a_write(void *unused) {
    filled = 1;
    pthread_cond_signal(&condition);
    return unused;
}

static void *reads_when_signalled(void *unused) {
    struct timespec until = time_in(1000000);
    pthread_mutex_lock(&mutex);
    if (pthread_cond_timedwait(&condition, &mutex, &until) == 0) check(filled);
    pthread_mutex_unlock(&mutex);
    return unused;
}

static void trusts_the_signal(void *unused) {
    (void)unused;
    both(reads_when_signalled, signals_after_a_write);
}

static void a_signal_orders_nothing(void **state) {
    (void)state;
    play(trusts_the_signal, (ambit_schedule_options){.no_spurious = true});
    found_as("trusts_the_signal", AMBIT_SCHEDULE_RACE,
             (const char *[]){"reads_when_signalled", "signals_after_a_write", NULL});
}

static void wait_until(clockid_t clock) {
    struct timespec until = time_in(2500), never = NO_TIME;
    pthread_mutex_lock(&mutex);
    for (int error = 0; error != ETIMEDOUT;) {
        error = clock == CLOCK_REALTIME ? pthread_cond_timedwait(&condition, &mutex, &until)
                                        : pthread_cond_clockwait(&condition, &mutex, clock, &until);
        check(!error || error == ETIMEDOUT);
    }
    check(has_come(until));
    check(pthread_cond_timedwait(&condition, &mutex, &never) == EINVAL);
    check(pthread_cond_clockwait(&condition, &mutex, CLOCK_BOOTTIME_ALARM, &until) == EINVAL);
    pthread_mutex_unlock(&mutex);
}

static void times_out(void *unused) {
    (void)unused;
    wait_until(CLOCK_REALTIME);
    wait_until(CLOCK_MONOTONIC);
}

static void timed_waits_end_in_time(void **state) {
    (void)state;
    assert_clean(times_out);
}

static void *takes_in_time(void *unused) {
    struct timespec until = {INT64_MAX, 0};
    pthread_mutex_lock(&mutex);
    while (!filled) check(pthread_cond_timedwait(&condition, &mutex, &until) == 0);
    pthread_mutex_unlock(&mutex);
    return unused;
}

static void in_time(void *unused) {
    (void)unused;
    both(takes_in_time, fills);
}

static void a_timed_wait_is_woken(void **state) {
    (void)state;
    assert_clean(in_time);
}

static void *waits_with_the_other(void *unused) {
    pthread_mutex_lock(&other);
    pthread_cond_wait(&condition, &other);
    pthread_mutex_unlock(&other);
    return unused;
}

static void waits_without(void *unused) {
    (void)unused;
    wait_for_it();
}

static void *unlocks_and_waits(void *unused) {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    wait_for_it();
    return unused;
}

static void waits_after_unlock(void *unused) { (void)unlocks_and_waits(unused); }

static void two_mutexes(void *unused) {
    (void)unused;
    both(waits_with_the_other, takes);
}

static void *destroys(void *unused) {
    pthread_cond_destroy(&condition);
    return unused;
}

static void destroyed_with_a_waiter(void *unused) {
    (void)unused;
    both(waits_once, destroys);
}

static void used_after_its_end(void *unused) {
    (void)unused;
    (void)destroys(NULL);
    (void)fills(NULL);
}

static void destroyed_after_use(void *unused) {
    (void)unused;
    both(takes, fills);
    (void)destroys(NULL);
}

static void misuses_are_found_with_both_places(void **state) {
    (void)state;
    assert_found(waits_without, AMBIT_SCHEDULE_MISUSE, "pthread_cond_wait",
                 "nobody has ever locked", "in wait_for_it()");
    assert_found(waits_after_unlock, AMBIT_SCHEDULE_MISUSE, "nobody holds the mutex",
                 "in wait_for_it(), and", "in unlocks_and_waits()");
    assert_found(two_mutexes, AMBIT_SCHEDULE_MISUSE, "with another mutex", "in wait_for_it()",
                 "in waits_with_the_other()");
    assert_some_found(destroyed_with_a_waiter, AMBIT_SCHEDULE_MISUSE, "still waits",
                      "in destroys()", "in wait_for_it()");
    assert_found(used_after_its_end, AMBIT_SCHEDULE_MISUSE, "has been destroyed", "in fills(), and",
                 "in destroys()");
    assert_clean(destroyed_after_use);
}

static void held_twice(void *unused) {
    (void)unused;
    static pthread_mutex_t recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
    pthread_mutex_lock(&recursive);
    pthread_mutex_lock(&recursive);
    pthread_cond_wait(&condition, &recursive);
}

static void a_wait_with_a_mutex_held_twice_is_found(void **state) {
    (void)state;
    assert_found(held_twice, AMBIT_SCHEDULE_MISUSE, "holds the mutex 2 times", "in held_twice()");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_with_a_predicate_is_clean),
        cmocka_unit_test(a_signal_before_the_wait_is_a_lost_wakeup),
        cmocka_unit_test(a_change_beside_the_mutex_is_a_lost_wakeup),
        cmocka_unit_test(a_wait_without_a_loop_is_found_unless_told_otherwise),
        cmocka_unit_test(a_signal_wakes_one_and_a_broadcast_all),
        cmocka_unit_test(a_signal_wakes_any_of_them),
        cmocka_unit_test(a_signal_orders_nothing),
        cmocka_unit_test(timed_waits_end_in_time),
        cmocka_unit_test(a_timed_wait_is_woken),
        cmocka_unit_test(misuses_are_found_with_both_places),
        cmocka_unit_test(a_wait_with_a_mutex_held_twice_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
