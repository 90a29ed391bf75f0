/* Semaphores, barriers, spin locks. */
#include "wraps.h"

#include <fcntl.h>
#include <limits.h>
#include <semaphore.h>

static sem_t semaphore;
static int value, passed;

static void *posts(void *unused) {
    value = 1;
    check(sem_post(&semaphore) == 0);
    return unused;
}

static void *waits(void *unused) {
    check(sem_wait(&semaphore) == 0);
    check(value == 1);
    return unused;
}

static void hands_over(void *unused) {
    (void)unused;
    check(sem_init(&semaphore, 0, 0) == 0);
    both(waits, posts);
    int left = -1;
    check(sem_getvalue(&semaphore, &left) == 0 && left == 0);
    check(sem_destroy(&semaphore) == 0);
}

static void a_post_orders_the_wait(void **state) {
    (void)state;
    assert_clean(hands_over);
    assert_clean(hands_over, .strategy = AMBIT_SCHEDULE_EXHAUSTIVE);
    assert_true(played.complete);
}

static void *counts(void *unused) {
    check(sem_wait(&semaphore) == 0);
    value++;
    check(sem_post(&semaphore) == 0);
    return unused;
}

static void *counts_by_trying(void *unused) {
    while (sem_trywait(&semaphore)) check(errno == EAGAIN);
    value++;
    check(sem_post(&semaphore) == 0);
    return unused;
}

static void one_at_a_time(void *unused) {
    (void)unused;
    check(sem_init(&semaphore, 0, 1) == 0);
    pthread_t thread = start(counts_by_trying, NULL);
    both(counts, counts);
    finish(thread);
    check(value == 3);
}

static void two_at_a_time(void *unused) {
    (void)unused;
    check(sem_init(&semaphore, 0, 2) == 0);
    both(counts, counts);
}

static void a_semaphore_lets_in_as_many_as_it_has(void **state) {
    (void)state;
    assert_clean(one_at_a_time);
    assert_found(two_at_a_time, AMBIT_SCHEDULE_RACE, "counts");
}

static void *takes_and_tells(void *unused) {
    value = 1;
    check(sem_wait(&semaphore) == 0);
    __atomic_store_n(&passed, 1, __ATOMIC_RELAXED);
    return unused;
}

static void *takes_after(void *unused) {
    if (!__atomic_load_n(&passed, __ATOMIC_RELAXED)) return unused;
    check(sem_wait(&semaphore) == 0);
    check(value == 1);
    return unused;
}

static void takes_twice(void *unused) {
    (void)unused;
    check(sem_init(&semaphore, 0, 2) == 0);
    both(takes_and_tells, takes_after);
}

static void waits_do_not_order_one_another(void **state) {
    (void)state;
    assert_found(takes_twice, AMBIT_SCHEDULE_RACE, "in takes_after()", "in takes_and_tells()");
}

static void waits_in_vain(void *unused) {
    (void)unused;
    struct timespec until = time_in(1500), never = NO_TIME;
    check(sem_init(&semaphore, 0, 0) == 0);
    check(sem_trywait(&semaphore) == -1 && errno == EAGAIN);
    check(sem_timedwait(&semaphore, &until) == -1 && errno == ETIMEDOUT && has_come(until));
    check(sem_clockwait(&semaphore, CLOCK_MONOTONIC, &until) == -1 && errno == ETIMEDOUT);
    check(sem_timedwait(&semaphore, &never) == -1 && errno == EINVAL);
    check(sem_post(&semaphore) == 0);
    check(sem_timedwait(&semaphore, &never) == 0);
    check(sem_init(&semaphore, 0, SEM_VALUE_MAX) == 0);
    check(sem_post(&semaphore) == -1 && errno == EOVERFLOW);
    check(sem_init(&semaphore, 0, SEM_VALUE_MAX + 1u) == -1 && errno == EINVAL);
}

static void timed_waits_end_in_time(void **state) {
    (void)state;
    assert_clean(waits_in_vain);
}

static void for_ever(void *unused) {
    (void)unused;
    check(sem_init(&semaphore, 0, 0) == 0);
    sem_wait(&semaphore);
}

static void a_wait_that_nobody_ends_is_a_lost_wakeup(void **state) {
    (void)state;
    assert_found(for_ever, AMBIT_SCHEDULE_LOST_WAKEUP, "in for_ever()");
}

static void *destroys(void *unused) {
    sem_destroy(&semaphore);
    return unused;
}

static void *only_waits(void *unused) {
    sem_wait(&semaphore);
    return unused;
}

static void destroyed_with_a_waiter(void *unused) {
    (void)unused;
    check(sem_init(&semaphore, 0, 0) == 0);
    both(only_waits, destroys);
}

static void used_after_its_end(void *unused) {
    (void)unused;
    check(sem_init(&semaphore, 0, 1) == 0);
    (void)destroys(NULL);
    (void)only_waits(NULL);
}

static void opens(void *unused) {
    (void)unused;
    sem_open("/none", O_RDWR);
}

static void misuses_are_found(void **state) {
    (void)state;
    assert_some_found(destroyed_with_a_waiter, AMBIT_SCHEDULE_MISUSE, "still waits",
                      "in destroys()", "in only_waits()");
    assert_found(used_after_its_end, AMBIT_SCHEDULE_MISUSE, "in only_waits(), and",
                 "in destroys()");
    assert_found(opens, AMBIT_SCHEDULE_UNSUPPORTED, "sem_open", "in opens()");
}

static void takes_what_was_there(void *unused) {
    (void)unused;
    check(sem_wait(&semaphore) == 0);
    check(sem_wait(&semaphore) == 0);
    check(sem_trywait(&semaphore) == -1);
}

static void a_semaphore_of_before_has_its_value(void **state) {
    (void)state;
    assert_int_equal(sem_init(&semaphore, 0, 2), 0);
    assert_clean(takes_what_was_there);
    int left = 0;
    assert_int_equal(sem_getvalue(&semaphore, &left), 0);
    assert_int_equal(left, 2);
    assert_int_equal(sem_destroy(&semaphore), 0);
}

/* ---- Barriers -------------------------------------------------------------------------------- */

static pthread_barrier_t barrier;
static int numbers[3], serial;

static void *meets(void *index) {
    int mine = (int)(intptr_t)index;
    for (int round = 1; round < 4; round++) {
        numbers[mine] = round;
        int result = pthread_barrier_wait(&barrier);
        if (result == PTHREAD_BARRIER_SERIAL_THREAD)
            __atomic_add_fetch(&serial, 1, __ATOMIC_RELAXED);
        else
            check(result == 0);
        for (int i = 0; i < 3; i++) check(numbers[i] == round);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void three_meet(void *unused) {
    (void)unused;
    pthread_t threads[3];
    check(pthread_barrier_init(&barrier, NULL, 0) == EINVAL);
    check(pthread_barrier_init(&barrier, NULL, 3) == 0);
    for (int i = 0; i < 3; i++) threads[i] = start(meets, (void *)(intptr_t)i);
    for (int i = 0; i < 3; i++) finish(threads[i]);
    check(serial == 3);
    check(pthread_barrier_destroy(&barrier) == 0);
}

static void a_barrier_orders_all_with_all(void **state) {
    (void)state;
    assert_clean(three_meet);
}

static void *comes(void *unused) {
    pthread_barrier_wait(&barrier);
    return unused;
}

static void *destroys_the_barrier(void *unused) {
    pthread_barrier_destroy(&barrier);
    return unused;
}

static void one_is_missing(void *unused) {
    (void)unused;
    check(pthread_barrier_init(&barrier, NULL, 3) == 0);
    both(comes, comes);
}

static void destroyed_too_early(void *unused) {
    (void)unused;
    check(pthread_barrier_init(&barrier, NULL, 2) == 0);
    both(comes, destroys_the_barrier);
}

static void a_barrier_that_is_not_reached_is_found(void **state) {
    (void)state;
    assert_found(one_is_missing, AMBIT_SCHEDULE_LOST_WAKEUP, "lost wake-up");
    assert_some_found(destroyed_too_early, AMBIT_SCHEDULE_MISUSE, "still waits",
                      "in destroys_the_barrier()", "in comes()");
}

static void *meets_twice(void *writer) {
    if (writer) value = 1;
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    if (writer) __atomic_store_n(&passed, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void *meets_later(void *unused) {
    while (!__atomic_load_n(&passed, __ATOMIC_RELAXED)) ambit_schedule_yield();
    pthread_barrier_wait(&barrier);
    check(value == 1);
    return unused;
}

static void two_and_two(void *unused) {
    (void)unused;
    check(pthread_barrier_init(&barrier, NULL, 2) == 0);
    pthread_t threads[] = {start(meets_twice, &barrier), start(meets_twice, NULL),
                           start(meets_later, NULL), start(meets_later, NULL)};
    for (int i = 0; i < 4; i++) finish(threads[i]);
}

static void a_barrier_orders_those_of_one_round_only(void **state) {
    (void)state;
    assert_found(two_and_two, AMBIT_SCHEDULE_RACE, "in meets_later()", "in meets_twice()");
}

/* ---- Spin locks ------------------------------------------------------------------------------ */

static pthread_spinlock_t spin;

static void *spins(void *unused) {
    check(pthread_spin_lock(&spin) == 0);
    value++;
    check(pthread_spin_unlock(&spin) == 0);
    return unused;
}

static void *spins_by_trying(void *unused) {
    while (pthread_spin_trylock(&spin)) continue;
    value++;
    check(pthread_spin_unlock(&spin) == 0);
    return unused;
}

static void three_spin(void *unused) {
    (void)unused;
    check(pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE) == 0);
    pthread_t thread = start(spins_by_trying, NULL);
    both(spins, spins_by_trying);
    finish(thread);
    check(value == 3);
    check(pthread_spin_destroy(&spin) == 0);
}

static void *unlocks_spin(void *unused) {
    pthread_spin_unlock(&spin);
    return unused;
}

static void stranger_unlocks_spin(void *unused) {
    (void)unused;
    check(pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE) == 0);
    pthread_spin_lock(&spin);
    finish(start(unlocks_spin, NULL));
}

static void spins_twice(void *unused) {
    (void)unused;
    check(pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE) == 0);
    pthread_spin_lock(&spin);
    pthread_spin_lock(&spin);
}

static void a_spin_lock_excludes_and_is_watched(void **state) {
    (void)state;
    assert_clean(three_spin);
    assert_found(stranger_unlocks_spin, AMBIT_SCHEDULE_MISUSE, "thread 0 holds the spin lock",
                 "in unlocks_spin(), and", "in stranger_unlocks_spin()");
    assert_found(spins_twice, AMBIT_SCHEDULE_DEADLOCK, "in spins_twice()");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_post_orders_the_wait),
        cmocka_unit_test(a_semaphore_lets_in_as_many_as_it_has),
        cmocka_unit_test(waits_do_not_order_one_another),
        cmocka_unit_test(timed_waits_end_in_time),
        cmocka_unit_test(a_wait_that_nobody_ends_is_a_lost_wakeup),
        cmocka_unit_test(misuses_are_found),
        cmocka_unit_test(a_semaphore_of_before_has_its_value),
        cmocka_unit_test(a_barrier_orders_all_with_all),
        cmocka_unit_test(a_barrier_that_is_not_reached_is_found),
        cmocka_unit_test(a_barrier_orders_those_of_one_round_only),
        cmocka_unit_test(a_spin_lock_excludes_and_is_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
