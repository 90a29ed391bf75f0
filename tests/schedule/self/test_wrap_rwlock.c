/* pthread_rwlock_*. */
#include "wraps.h"

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_rwlock_t writers_first = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static int value, passed, inside;

static void *writes(void *unused) {
    check(pthread_rwlock_wrlock(&rwlock) == 0);
    int before = value;
    ambit_schedule_yield();
    value = before + 1;
    check(pthread_rwlock_unlock(&rwlock) == 0);
    return unused;
}

static void *reads(void *unused) {
    check(pthread_rwlock_rdlock(&rwlock) == 0);
    check(value >= 0);
    int before = value;
    ambit_schedule_yield();
    check(value == before);
    check(pthread_rwlock_unlock(&rwlock) == 0);
    return unused;
}

static void excludes(void *unused) {
    (void)unused;
    pthread_t reader = start(reads, NULL);
    both(writes, writes);
    finish(reader);
    check(value == 2);
}

static void a_writer_excludes_all_and_is_ordered_with_all(void **state) {
    (void)state;
    assert_clean(excludes);
}

static void *reads_beside(void *unused) {
    pthread_rwlock_rdlock(&rwlock);
    int now = __atomic_add_fetch(&inside, 1, __ATOMIC_RELAXED);
    check(now < 2); /* fails: there is a second one */
    ambit_schedule_yield();
    __atomic_sub_fetch(&inside, 1, __ATOMIC_RELAXED);
    pthread_rwlock_unlock(&rwlock);
    return unused;
}

static void two_readers(void *unused) {
    (void)unused;
    both(reads_beside, reads_beside);
}

static void readers_share(void **state) {
    (void)state;
    assert_happens(two_readers);
}

static void *writes_beside_then_reads(void *unused) {
    value = 1;
    pthread_rwlock_rdlock(&rwlock);
    pthread_rwlock_unlock(&rwlock);
    __atomic_store_n(&passed, 1, __ATOMIC_RELAXED);
    return unused;
}

static void *reads_then_sees(void *unused) {
    if (!__atomic_load_n(&passed, __ATOMIC_RELAXED)) return unused;
    pthread_rwlock_rdlock(&rwlock);
    pthread_rwlock_unlock(&rwlock);
    check(value == 1);
    return unused;
}

static void *writer_then_sees(void *unused) {
    if (!__atomic_load_n(&passed, __ATOMIC_RELAXED)) return unused;
    pthread_rwlock_wrlock(&rwlock);
    pthread_rwlock_unlock(&rwlock);
    check(value == 1);
    return unused;
}

static void reader_after_reader(void *unused) {
    (void)unused;
    both(writes_beside_then_reads, reads_then_sees);
}

static void writer_after_reader(void *unused) {
    (void)unused;
    both(writes_beside_then_reads, writer_then_sees);
}

static void readers_do_not_order_one_another_but_the_next_writer(void **state) {
    (void)state;
    assert_found(reader_after_reader, AMBIT_SCHEDULE_RACE, "reads_then_sees");
    assert_clean(writer_after_reader);
}

static void *tries(void *unused) {
    struct timespec until = time_in(500), never = NO_TIME;
    check(pthread_rwlock_tryrdlock(&rwlock) == EBUSY);
    check(pthread_rwlock_trywrlock(&rwlock) == EBUSY);
    check(pthread_rwlock_timedrdlock(&rwlock, &until) == ETIMEDOUT && has_come(until));
    until = time_in(500);
    check(pthread_rwlock_timedwrlock(&rwlock, &until) == ETIMEDOUT && has_come(until));
    until = time_in(500);
    check(pthread_rwlock_clockrdlock(&rwlock, CLOCK_MONOTONIC, &until) == ETIMEDOUT);
    check(pthread_rwlock_clockwrlock(&rwlock, CLOCK_MONOTONIC, &until) == ETIMEDOUT);
    check(pthread_rwlock_timedwrlock(&rwlock, &never) == EINVAL);
    return unused;
}

static void *tries_to_read(void *unused) {
    struct timespec until = time_in(500);
    check(pthread_rwlock_tryrdlock(&rwlock) == 0);
    check(pthread_rwlock_timedrdlock(&rwlock, &until) == 0);
    check(pthread_rwlock_unlock(&rwlock) == 0);
    check(pthread_rwlock_trywrlock(&rwlock) == EBUSY);
    check(pthread_rwlock_unlock(&rwlock) == 0);
    return unused;
}

static void in_vain(void *unused) {
    (void)unused;
    check(pthread_rwlock_trywrlock(&rwlock) == 0);
    check(pthread_rwlock_rdlock(&rwlock) == EDEADLK);
    check(pthread_rwlock_wrlock(&rwlock) == EDEADLK);
    finish(start(tries, NULL));
    check(pthread_rwlock_unlock(&rwlock) == 0);
    check(pthread_rwlock_rdlock(&rwlock) == 0);
    finish(start(tries_to_read, NULL));
    check(pthread_rwlock_unlock(&rwlock) == 0);
    check(pthread_rwlock_destroy(&rwlock) == 0);
}

static void tries_and_timed_locks_end(void **state) {
    (void)state;
    assert_clean(in_vain);
}

static void *writes_in_a_loop(void *unused) {
    while (pthread_rwlock_trywrlock(&rwlock)) continue;
    value++;
    pthread_rwlock_unlock(&rwlock);
    return unused;
}

static void by_trying(void *unused) {
    (void)unused;
    both(writes_in_a_loop, writes_in_a_loop);
    check(value == 2);
}

static void a_loop_of_tries_is_no_livelock(void **state) {
    (void)state;
    assert_clean(by_trying);
}

static void *reads_twice(void *of) {
    pthread_rwlock_rdlock(of);
    pthread_rwlock_rdlock(of);
    pthread_rwlock_unlock(of);
    pthread_rwlock_unlock(of);
    return NULL;
}

static void *writes_once(void *of) {
    pthread_rwlock_wrlock(of);
    pthread_rwlock_unlock(of);
    return NULL;
}

static void reads_twice_beside_a_writer(pthread_rwlock_t *of) {
    pthread_t reader = start(reads_twice, of), writer = start(writes_once, of);
    finish(reader);
    finish(writer);
}

static void readers_first(void *unused) {
    (void)unused;
    reads_twice_beside_a_writer(&rwlock);
}

static void writer_first(void *unused) {
    (void)unused;
    reads_twice_beside_a_writer(&writers_first);
}

static void writer_first_if_made_so(void *unused) {
    (void)unused;
    static pthread_rwlock_t made;
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    check(pthread_rwlock_init(&made, &attributes) == 0);
    reads_twice_beside_a_writer(&made);
}

static void reading_twice_is_a_dead_lock_where_writers_come_first(void **state) {
    (void)state;
    assert_clean(readers_first);
    assert_found(writer_first, AMBIT_SCHEDULE_DEADLOCK, "dead lock");
    assert_found(writer_first_if_made_so, AMBIT_SCHEDULE_DEADLOCK, "dead lock");
}

static void *unlocks(void *unused) {
    pthread_rwlock_unlock(&rwlock);
    return unused;
}

static void writes_unlocked_by_a_stranger(void *unused) {
    (void)unused;
    pthread_rwlock_wrlock(&rwlock);
    finish(start(unlocks, NULL));
}

static void reads_unlocked_by_a_stranger(void *unused) {
    (void)unused;
    pthread_rwlock_rdlock(&rwlock);
    finish(start(unlocks, NULL));
}

static void unlocked_twice(void *unused) {
    (void)unused;
    (void)writes(NULL);
    (void)unlocks(NULL);
}

static void destroyed_while_read(void *unused) {
    (void)unused;
    pthread_rwlock_rdlock(&rwlock);
    pthread_rwlock_destroy(&rwlock);
}

static void used_after_its_end(void *unused) {
    (void)unused;
    pthread_rwlock_destroy(&rwlock);
    (void)reads(NULL);
}

static void misuses_are_found_with_both_places(void **state) {
    (void)state;
    assert_found(writes_unlocked_by_a_stranger, AMBIT_SCHEDULE_MISUSE, "thread 0 holds",
                 "in unlocks(), and", "in writes_unlocked_by_a_stranger()");
    assert_found(reads_unlocked_by_a_stranger, AMBIT_SCHEDULE_MISUSE, "thread 0 holds",
                 "in unlocks(), and", "in reads_unlocked_by_a_stranger()");
    assert_found(unlocked_twice, AMBIT_SCHEDULE_MISUSE, "nobody holds", "in unlocks(), and",
                 "in writes()");
    assert_found(destroyed_while_read, AMBIT_SCHEDULE_MISUSE, "thread 0 holds",
                 "in destroyed_while_read(), and");
    assert_found(used_after_its_end, AMBIT_SCHEDULE_MISUSE, "has been destroyed", "in reads(), and",
                 "in used_after_its_end()");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_writer_excludes_all_and_is_ordered_with_all),
        cmocka_unit_test(readers_share),
        cmocka_unit_test(readers_do_not_order_one_another_but_the_next_writer),
        cmocka_unit_test(tries_and_timed_locks_end),
        cmocka_unit_test(a_loop_of_tries_is_no_livelock),
        cmocka_unit_test(reading_twice_is_a_dead_lock_where_writers_come_first),
        cmocka_unit_test(misuses_are_found_with_both_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
