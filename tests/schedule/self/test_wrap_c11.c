/* <threads.h>. */
#include "wraps.h"

#include <threads.h>

static mtx_t mutex;
static cnd_t condition;
static once_flag flag = ONCE_FLAG_INIT;
static tss_t key;
static int counter, ready, made, destroyed;

static int adds(void *argument) {
    check(mtx_lock(&mutex) == thrd_success);
    counter++;
    check(mtx_unlock(&mutex) == thrd_success);
    return (int)(intptr_t)argument;
}

static int leaves(void *argument) {
    (void)adds(NULL);
    thrd_exit((int)(intptr_t)argument);
}

static thrd_t begin(thrd_start_t run, void *argument) {
    thrd_t thread;
    check(thrd_create(&thread, run, argument) == thrd_success);
    return thread;
}

static void threads(void *unused) {
    (void)unused;
    check(mtx_init(&mutex, mtx_plain) == thrd_success);
    int one = 0, two = 0;
    thrd_t first = begin(adds, (void *)-7), second = begin(leaves, (void *)8);
    check(!thrd_equal(first, second) && thrd_equal(thrd_current(), thrd_current()));
    check(thrd_join(first, &one) == thrd_success && one == -7);
    check(thrd_join(second, &two) == thrd_success && two == 8);
    check(thrd_detach(begin(adds, NULL)) == thrd_success);
    mtx_lock(&mutex);
    check(counter >= 2);
    mtx_unlock(&mutex);
}

static void threads_return_an_int_and_mutexes_exclude(void **state) {
    (void)state;
    assert_clean(threads);
}

static int tries(void *unused) {
    (void)unused;
    struct timespec until = time_in(500), never = NO_TIME;
    check(mtx_trylock(&mutex) == thrd_busy);
    check(mtx_timedlock(&mutex, &until) == thrd_timedout && has_come(until));
    check(mtx_timedlock(&mutex, &never) == thrd_error);
    return 0;
}

static void in_vain(void *unused) {
    (void)unused;
    check(mtx_init(&mutex, 64) == thrd_error);
    check(mtx_init(&mutex, mtx_timed | mtx_recursive) == thrd_success);
    check(mtx_lock(&mutex) == thrd_success);
    check(mtx_trylock(&mutex) == thrd_success);
    check(thrd_join(begin(tries, NULL), NULL) == thrd_success);
    check(mtx_unlock(&mutex) == thrd_success);
    check(thrd_join(begin(tries, NULL), NULL) == thrd_success);
    check(mtx_unlock(&mutex) == thrd_success);
    mtx_destroy(&mutex);
}

static void a_mutex_is_recursive_and_timed(void **state) {
    (void)state;
    assert_clean(in_vain);
}

static int takes(void *unused) {
    (void)unused;
    mtx_lock(&mutex);
    while (!ready) check(cnd_wait(&condition, &mutex) == thrd_success);
    ready--;
    mtx_unlock(&mutex);
    return 0;
}

static int gives(void *all) {
    mtx_lock(&mutex);
    ready += 2;
    check((all ? cnd_broadcast(&condition) : cnd_signal(&condition)) == thrd_success);
    mtx_unlock(&mutex);
    return 0;
}

static void hand_over(void *all) {
    struct timespec until = time_in(500), never = NO_TIME;
    check(mtx_init(&mutex, mtx_plain) == thrd_success && cnd_init(&condition) == thrd_success);
    thrd_t list[] = {begin(takes, NULL), begin(takes, NULL), begin(gives, all)};
    for (int i = 0; i < 3; i++) check(thrd_join(list[i], NULL) == thrd_success);
    mtx_lock(&mutex);
    int status;
    while ((status = cnd_timedwait(&condition, &mutex, &until)) == thrd_success) continue;
    check(status == thrd_timedout && has_come(until));
    check(cnd_timedwait(&condition, &mutex, &never) == thrd_error);
    mtx_unlock(&mutex);
    cnd_destroy(&condition);
    mtx_destroy(&mutex);
}

static void to_all(void *unused) {
    (void)unused;
    hand_over("all");
}

static void to_one(void *unused) {
    (void)unused;
    hand_over(NULL);
}

static void a_condition_wakes_one_or_all(void **state) {
    (void)state;
    assert_clean(to_all);
    assert_found(to_one, AMBIT_SCHEDULE_LOST_WAKEUP, "lost wake-up");
}

static void makes(void) { made++; }

static int needs(void *unused) {
    (void)unused;
    call_once(&flag, makes);
    check(made == 1);
    return 0;
}

static void destroy(void *value) { destroyed += *(int *)value; }

static int sets(void *value) {
    check(tss_get(key) == NULL);
    check(tss_set(key, value) == thrd_success);
    check(tss_get(key) == value);
    return 0;
}

static void once_and_values(void *unused) {
    (void)unused;
    int four = 4;
    thrd_t first = begin(needs, NULL), second = begin(needs, NULL);
    check(thrd_join(first, NULL) == thrd_success && thrd_join(second, NULL) == thrd_success);
    check(tss_create(&key, destroy) == thrd_success);
    check(thrd_join(begin(sets, &four), NULL) == thrd_success);
    check(destroyed == 4);
    tss_delete(key);
}

static void once_and_thread_values_work(void **state) {
    (void)state;
    assert_clean(once_and_values);
}

static int unlocks(void *unused) {
    (void)unused;
    return mtx_unlock(&mutex);
}

static void by_a_stranger(void *unused) {
    (void)unused;
    mtx_init(&mutex, mtx_plain);
    mtx_lock(&mutex);
    thrd_join(begin(unlocks, NULL), NULL);
}

static void joins_twice(void *unused) {
    (void)unused;
    mtx_init(&mutex, mtx_plain);
    thrd_t thread = begin(adds, NULL);
    thrd_join(thread, NULL);
    thrd_join(thread, NULL);
}

static void misuses_are_told_by_these_names(void **state) {
    (void)state;
    assert_found(by_a_stranger, AMBIT_SCHEDULE_MISUSE, "mtx_unlock", "in unlocks(), and",
                 "in by_a_stranger()");
    assert_found(joins_twice, AMBIT_SCHEDULE_MISUSE, "thrd_join", "joined already");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_return_an_int_and_mutexes_exclude),
        cmocka_unit_test(a_mutex_is_recursive_and_timed),
        cmocka_unit_test(a_condition_wakes_one_or_all),
        cmocka_unit_test(once_and_thread_values_work),
        cmocka_unit_test(misuses_are_told_by_these_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
