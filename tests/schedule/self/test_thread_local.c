/* What belongs to a thread: variables of the program's, and errno, whoever writes it. */
#include "wraps.h"

#include <fcntl.h>
#include <unistd.h>

static _Thread_local int mine = 7;
static _Thread_local struct {
    char letters[100];
    int *self;
} large;
static int *others[2]; /* where each thread has it */

static void *has_its_own(void *argument) {
    int number = (int)(intptr_t)argument;
    check(mine == 7); /* as it was initialised, in each schedule */
    check(!large.self && !large.letters[99]);
    mine = number;
    large.self = &mine;
    large.letters[99] = (char)number;
    others[number] = &mine;
    ambit_schedule_yield();
    check(mine == number && large.self == &mine && large.letters[99] == number);
    ambit_schedule_yield();
    check(others[number] == &mine);
    return NULL;
}

static void two_have_their_own(void *unused) {
    (void)unused;
    pthread_t one = start(has_its_own, (void *)0), two = start(has_its_own, (void *)1);
    finish(one);
    finish(two);
    check(others[0] != others[1]);
    check(mine == 7); /* this thread's */
}

static void variables_are_a_threads_own(void **state) {
    (void)state;
    assert_clean(two_have_their_own);
}

/* Another thread's is memory like any other's. */
static void *writes_there(void *place) {
    *(int *)place = 9;
    return NULL;
}
static void one_writes_anothers(void *unused) {
    (void)unused;
    pthread_t thread = start(writes_there, &mine);
    finish(thread);
    check(mine == 9);
}
static void two_write_one(void *unused) {
    (void)unused;
    pthread_t thread = start(writes_there, &mine);
    mine = 8;
    finish(thread);
}
static void variables_can_be_reached_by_others(void **state) {
    (void)state;
    assert_clean(one_writes_anothers);
    assert_found(two_write_one, AMBIT_SCHEDULE_RACE, "mine of thread 0");
}

/* Both by the program, and by the C library's own hand. */
static void *sets_it_and_looks(void *argument) {
    int number = (int)(intptr_t)argument;
    check(errno == 0);
    errno = number;
    ambit_schedule_yield();
    check(errno == number);
    (void)strtol("99999999999999999999999", NULL, 10);
    ambit_schedule_yield();
    check(errno == ERANGE);
    check(close(-1) == -1);
    ambit_schedule_yield();
    check(errno == EBADF);
    errno = 0;
    ambit_schedule_yield();
    check(errno == 0);
    check(open("/nowhere/at/all", O_RDONLY) == -1 && errno == ENOENT);
    return NULL;
}

static void three_set_errno(void *unused) {
    (void)unused;
    pthread_t one = start(sets_it_and_looks, (void *)1), two = start(sets_it_and_looks, (void *)2);
    errno = 0;
    (void)sets_it_and_looks((void *)3);
    finish(one);
    finish(two);
}

static void errno_is_a_threads_own(void **state) {
    (void)state;
    assert_clean(three_set_errno);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables_are_a_threads_own),
        cmocka_unit_test(variables_can_be_reached_by_others),
        cmocka_unit_test(errno_is_a_threads_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
