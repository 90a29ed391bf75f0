/* pthread_once() and keys. */
#include "wraps.h"

static pthread_once_t once = PTHREAD_ONCE_INIT, outside = PTHREAD_ONCE_INIT;
static int runs, outside_runs;

static void makes(void) {
    int before = runs;
    ambit_schedule_yield();
    runs = before + 1;
}

static void makes_outside(void) { outside_runs++; }

static void *needs_it(void *unused) {
    check(pthread_once(&once, makes) == 0);
    check(runs == 1);
    return unused;
}

static void three_need_it(void *unused) {
    pthread_t thread = start(needs_it, NULL);
    both(needs_it, needs_it);
    finish(thread);
    (void)needs_it(unused);
}

static void a_once_runs_once_and_orders(void **state) {
    (void)state;
    assert_clean(three_need_it);
}

static void is_done(void *unused) {
    (void)unused;
    check(pthread_once(&outside, makes_outside) == 0);
    check(outside_runs == 1);
}

static void a_once_that_was_done_before_stays_done(void **state) {
    (void)state;
    assert_int_equal(pthread_once(&outside, makes_outside), 0);
    assert_int_equal(outside_runs, 1);
    assert_clean(is_done);
    assert_int_equal(pthread_once(&outside, makes_outside), 0);
    assert_int_equal(outside_runs, 1);
}

static void calls_itself(void) { pthread_once(&once, calls_itself); }

static void in_itself(void *unused) {
    (void)unused;
    pthread_once(&once, calls_itself);
}

static void a_once_in_itself_is_a_dead_lock(void **state) {
    (void)state;
    assert_found(in_itself, AMBIT_SCHEDULE_DEADLOCK, "in calls_itself()");
}

/* ---- Keys ------------------------------------------------------------------------------------ */

static pthread_key_t key, second, early;
static int destroyed, rounds;

static void destroy(void *value) { destroyed += *(int *)value; }

static void destroy_and_set_anew(void *value) {
    rounds++;
    check(pthread_getspecific(key) == NULL);
    check(pthread_setspecific(key, value) == 0);
}

static void *has_values(void *unused) {
    static int one = 1, ten = 10;
    check(pthread_getspecific(key) == NULL);
    check(pthread_setspecific(key, &one) == 0);
    check(pthread_setspecific(second, &ten) == 0);
    ambit_schedule_yield();
    check(pthread_getspecific(key) == &one);
    check(pthread_getspecific(second) == &ten);
    check(destroyed == 0 || destroyed == 11);
    return unused;
}

static void values(void *unused) {
    (void)unused;
    check(pthread_key_create(&key, destroy) == 0);
    check(pthread_key_create(&second, destroy) == 0);
    finish(start(has_values, NULL));
    check(destroyed == 11);
    finish(start(has_values, NULL));
    check(destroyed == 22);
    check(pthread_getspecific(key) == NULL);
    check(pthread_key_delete(key) == 0 && pthread_key_delete(second) == 0);
}

static void each_thread_has_its_values_which_are_destroyed(void **state) {
    (void)state;
    assert_clean(values);
}

static void *sets(void *unused) {
    check(pthread_setspecific(key, &rounds) == 0);
    return unused;
}

static void *sets_and_exits(void *unused) {
    (void)sets(NULL);
    pthread_exit(unused);
}

static void for_ever(void *unused) {
    (void)unused;
    check(pthread_key_create(&key, destroy_and_set_anew) == 0);
    finish(start(sets, NULL));
    check(rounds == PTHREAD_DESTRUCTOR_ITERATIONS);
    finish(start(sets_and_exits, NULL));
    check(rounds == 2 * PTHREAD_DESTRUCTOR_ITERATIONS);
}

static void destructors_run_in_rounds_and_then_no_more(void **state) {
    (void)state;
    assert_int_equal(PTHREAD_DESTRUCTOR_ITERATIONS, 4);
    assert_clean(for_ever);
}

static void uses_a_key_of_before(void *unused) {
    (void)unused;
    static int five = 5;
    check(pthread_getspecific(early) == NULL);
    check(pthread_setspecific(early, &five) == 0);
    check(pthread_key_create(&key, destroy) == 0 && key != early);
    check(pthread_getspecific(early) == &five && pthread_getspecific(key) == NULL);
    key = early;
    second = early;
    finish(start(sets, NULL));
    check(destroyed == 0);
    check(rounds == 1);
}

static void counts_rounds(void *value) { *(int *)value = 1; }

static void a_key_of_before_has_new_values_and_its_destructor(void **state) {
    (void)state;
    int mine = 0;
    assert_int_equal(pthread_key_create(&early, counts_rounds), 0);
    assert_int_equal(pthread_setspecific(early, &mine), 0);
    assert_clean(uses_a_key_of_before);
    assert_ptr_equal(pthread_getspecific(early), &mine);
    assert_int_equal(pthread_key_delete(early), 0);
}

static void makes_key(void *unused) {
    (void)unused;
    check(pthread_key_create(&key, destroy) == 0);
}

static void uses_what_before_made(void *unused) {
    static int three = 3;
    (void)unused;
    check(pthread_setspecific(key, &three) == 0);
    pthread_key_t other;
    check(pthread_key_create(&other, NULL) == 0 && other != key);
}

static void a_key_made_before_the_schedules_is_there_in_each(void **state) {
    (void)state;
    assert_clean(uses_what_before_made, .before = makes_key);
}

static void deletes(void) { pthread_key_delete(key); }

static void deleted(void *unused) {
    makes_key(unused);
    deletes();
    (void)pthread_getspecific(key);
}

static void deleted_twice(void *unused) {
    makes_key(unused);
    deletes();
    deletes();
}

static void no_key(void *unused) { (void)pthread_setspecific(540, unused); }

static void what_is_no_key_is_found(void **state) {
    (void)state;
    assert_found(deleted, AMBIT_SCHEDULE_MISUSE, "pthread_getspecific", "deleted",
                 "in deleted(), and", "in deletes()");
    assert_found(deleted_twice, AMBIT_SCHEDULE_MISUSE, "pthread_key_delete", "in deletes(), and");
    assert_found(no_key, AMBIT_SCHEDULE_MISUSE, "this is no key", "in no_key()");
}

static void many(void *unused) {
    (void)unused;
    pthread_key_t keys[65];
    int count = 0, error = 0;
    while (count < 65 && !(error = pthread_key_create(&keys[count], NULL))) count++;
    check(count == 64 && error == EAGAIN);
    check(pthread_setspecific(keys[7], keys) == 0);
    check(pthread_key_delete(keys[7]) == 0);
    check(pthread_key_create(&keys[7], NULL) == 0);
    check(pthread_getspecific(keys[7]) == NULL);
}

static void there_are_as_many_as_there_are(void **state) {
    (void)state;
    assert_clean(many, .schedules = 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_once_runs_once_and_orders),
        cmocka_unit_test(a_once_that_was_done_before_stays_done),
        cmocka_unit_test(a_once_in_itself_is_a_dead_lock),
        cmocka_unit_test(each_thread_has_its_values_which_are_destroyed),
        cmocka_unit_test(destructors_run_in_rounds_and_then_no_more),
        cmocka_unit_test(a_key_of_before_has_new_values_and_its_destructor),
        cmocka_unit_test(a_key_made_before_the_schedules_is_there_in_each),
        cmocka_unit_test(what_is_no_key_is_found),
        cmocka_unit_test(there_are_as_many_as_there_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
