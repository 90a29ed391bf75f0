/* Atomics that the processor has no instruction for, and loops over plain memory that only another thread ends. */
#include "outcome.h"

#ifdef __clang__ /* it says that these are slow */
#pragma clang diagnostic ignored "-Watomic-alignment"
#endif

static void run_two(ambit_schedule_fn *run) {
    ambit_schedule_thread first = ambit_schedule_spawn(run, NULL);
    ambit_schedule_thread second = ambit_schedule_spawn(run, NULL);
    ambit_schedule_join(first);
    ambit_schedule_join(second);
}

typedef struct {
    uint64_t one, two, three;
} wide;
static wide object;
static int plain;

static wide get(void) {
    wide value;
    __atomic_load(&object, &value, __ATOMIC_ACQUIRE);
    return value;
}

static void exchange_until_it_is(void *argument) {
    (void)argument;
    wide old = get(), next;
    do next = (wide){old.one + 1, old.two + 2, old.three + 3};
    while (
        !__atomic_compare_exchange(&object, &old, &next, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
}
static void add_once(void *argument) {
    (void)argument;
    wide value = get();
    value.one++;
    __atomic_store(&object, &value, __ATOMIC_SEQ_CST);
}
static void exchanges_are_one_step(void *argument) {
    (void)argument;
    run_two(exchange_until_it_is);
    wide value = {7, 8, 9}, old;
    __atomic_exchange(&object, &value, &old, __ATOMIC_SEQ_CST);
    ambit_schedule_assert(old.one == 2 && old.two == 4 && old.three == 6);
    old = get();
    ambit_schedule_assert(old.one == 7 && old.two == 8 && old.three == 9);
}
static void updates_are_lost(void *argument) {
    (void)argument;
    run_two(add_once);
    ambit_schedule_assert(get().one == 2);
}

static bool relaxed;
static void publish(void *argument) {
    (void)argument;
    wide value = {1, 0, 0};
    plain = 5;
    if (relaxed)
        __atomic_store(&object, &value, __ATOMIC_RELAXED);
    else
        __atomic_store(&object, &value, __ATOMIC_RELEASE);
}
static void pass_a_message(void *argument) {
    (void)argument;
    ambit_schedule_thread other = ambit_schedule_spawn(publish, NULL);
    while (!get().one) {
    }
    ambit_schedule_assert(plain == 5);
    ambit_schedule_join(other);
}

static void wide_atomics_are_steps(void **state) {
    (void)state;
    expect_clean(exchanges_are_one_step);
    expect_failure(updates_are_lost, AMBIT_SCHEDULE_ASSERTION, "get().one == 2");
    expect_clean(pass_a_message);
    relaxed = true;
    expect_failure(pass_a_message, AMBIT_SCHEDULE_RACE, "races");
}

static volatile int ready;
static void get_ready(void *argument) {
    (void)argument;
    ready = 1;
}
static void wait_by_a_plain_loop(void *argument) {
    (void)argument;
    ambit_schedule_thread other = ambit_schedule_spawn(get_ready, NULL);
    while (!ready) {
    }
    ambit_schedule_join(other);
}
static volatile int counted; /* or the compiler takes it out of the loop */
static void wait_and_count(void *argument) {
    (void)argument;
    ambit_schedule_thread other = ambit_schedule_spawn(get_ready, NULL);
    while (!ready) counted++;
    ambit_schedule_join(other);
}
static void plain_loops_let_others_run(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed < 40; seed++) {
        ambit_schedule_options options = {.schedules = 20, .seed = seed};
        expect_failure_with(wait_by_a_plain_loop, options, AMBIT_SCHEDULE_RACE, "races");
        expect_failure_with(wait_and_count, options, AMBIT_SCHEDULE_RACE, "races");
        /* Whoever waits may be the one that always comes first. */
        options.strategy = AMBIT_SCHEDULE_PCT;
        options.depth = 1;
        expect_failure_with(wait_and_count, options, AMBIT_SCHEDULE_RACE, "races");
    }
}

enum { WORK = 3000000 };
static void work_long(void *argument) {
    (void)argument;
    for (int i = 0; i < WORK; i++) counted++;
    ambit_schedule_assert(counted == WORK);
}
static void work_is_no_loop(void **state) {
    (void)state;
    expect_clean_with(work_long, (ambit_schedule_options){.schedules = 5});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wide_atomics_are_steps),
        cmocka_unit_test(plain_loops_let_others_run),
        cmocka_unit_test(work_is_no_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
