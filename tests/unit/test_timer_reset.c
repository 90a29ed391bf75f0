/* Moving armed timers to other times. */
#include "timers.h"

#include <unistd.h>

static _Atomic(int64_t) virtual_ns;
static int64_t read_virtual(void *user) {
    (void)user;
    return atomic_load(&virtual_ns);
}
static void start_virtual(int64_t now_ns) {
    static const ambit_clock clock = {read_virtual, NULL};
    ambit_timer_stop();
    atomic_store(&virtual_ns, now_ns);
    ambit_clock_set(&clock);
}

static void a_later_time_is_the_one_that_counts(void **state) {
    (void)state;
    start_virtual(AMBIT_SECOND);
    ambit_timer timer = arm(2 * AMBIT_SECOND, count, NULL);
    assert_int_equal(ambit_timer_reset(timer, 5 * AMBIT_SECOND), 1);
    atomic_store(&virtual_ns, 2 * AMBIT_SECOND);
    nap_ms(20);
    assert_int_equal(atomic_load(&calls), 0);
    assert_int_equal(armed(), 1);
    atomic_store(&virtual_ns, 5 * AMBIT_SECOND - 1);
    nap_ms(20);
    assert_int_equal(atomic_load(&calls), 0);
    atomic_store(&virtual_ns, 5 * AMBIT_SECOND);
    assert_true(comes_to(&calls, 1));
    assert_int_equal(ambit_timer_disarm(timer), AMBIT_FIRED);
}

static void a_sooner_time_is_kept_as_well(void **state) {
    (void)state;
    ambit_timer timer = arm(in_ms(3600000), count, NULL);
    int64_t soon_ns = in_ms(5);
    assert_int_equal(ambit_timer_reset(timer, soon_ns), 1); /* the service sleeps until the hour */
    assert_true(comes_to(&calls, 1));
    assert_true(atomic_load(&called_at_ns) >= soon_ns);
}

static void later_and_back_again_is_the_last_one(void **state) {
    (void)state;
    start_virtual(AMBIT_SECOND);
    ambit_timer timer = arm(10 * AMBIT_SECOND, count, NULL);
    assert_int_equal(ambit_timer_reset(timer, 90 * AMBIT_SECOND), 1);
    assert_int_equal(ambit_timer_reset(timer, 20 * AMBIT_SECOND), 1);
    assert_int_equal(ambit_timer_reset(timer, 5 * AMBIT_SECOND), 1);
    atomic_store(&virtual_ns, 5 * AMBIT_SECOND - 1);
    nap_ms(10);
    assert_int_equal(atomic_load(&calls), 0);
    atomic_store(&virtual_ns, 5 * AMBIT_SECOND);
    assert_true(comes_to(&calls, 1));
}

static void what_is_not_armed_is_not_moved(void **state) {
    (void)state;
    ambit_timer fired = arm(in_ms(0), count, NULL), gone = arm(in_ms(60000), count, NULL);
    assert_true(comes_to(&calls, 1));
    assert_int_equal(ambit_timer_disarm(gone), AMBIT_DISARMED);
    assert_int_equal(ambit_timer_disarm(fired), AMBIT_FIRED);
    assert_int_equal(ambit_timer_reset(fired, in_ms(1)), 0);
    assert_int_equal(ambit_timer_reset(gone, in_ms(1)), 0);
    assert_int_equal(ambit_timer_reset((ambit_timer){NULL, 0}, in_ms(1)), 0);
    ambit_timer next = arm(in_ms(60000), count, NULL); /* in the memory of one of those */
    assert_int_equal(ambit_timer_reset(fired, in_ms(1)), 0);
    assert_int_equal(ambit_timer_reset(gone, in_ms(1)), 0);
    nap_ms(10);
    assert_int_equal(atomic_load(&calls), 1);
    assert_int_equal(ambit_timer_disarm(next), AMBIT_DISARMED);
}

static _Atomic(int) answer;
static void reset_itself(void *argument) {
    (void)argument;
    if (!comes_to(&entered, 1)) return; /* `own` is set */
    atomic_store(&answer, ambit_timer_reset(own, in_ms(1)));
    atomic_fetch_add(&calls, 1);
}
static void from_inside_its_own_function_it_is_too_late(void **state) {
    (void)state;
    atomic_store(&answer, -1);
    atomic_store(&entered, 0);
    own = arm(in_ms(1), reset_itself, NULL);
    atomic_store(&entered, 1);
    assert_true(comes_to(&calls, 1));
    assert_int_equal(ambit_timer_disarm(own), AMBIT_FIRED);
    assert_int_equal(atomic_load(&answer), 0);
    nap_ms(10);
    assert_int_equal(atomic_load(&calls), 1);
}

static void *reset_on_thread(void *timer) {
    return (void *)(intptr_t)ambit_timer_reset(*(ambit_timer *)timer, in_ms(5));
}
static void another_thread_may_move_it(void **state) {
    (void)state;
    ambit_timer timer = arm(in_ms(3600000), count, NULL);
    pthread_t thread;
    void *moved;
    assert_int_equal(pthread_create(&thread, NULL, reset_on_thread, &timer), 0);
    pthread_join(thread, &moved);
    assert_int_equal((intptr_t)moved, 1);
    assert_true(comes_to(&calls, 1));
}

/* Beside a model: each fires once, not before its last time, and at it. */
enum { MANY = 300 };
static struct one {
    ambit_timer timer;
    int64_t deadline_ns;
    _Atomic(int) fired;
} ones[MANY];
static void note(void *argument) {
    struct one *one = argument;
    if (atomic_load(&virtual_ns) < one->deadline_ns) atomic_store(&answer, -1);
    atomic_fetch_add(&one->fired, 1);
    atomic_fetch_add(&calls, 1);
}
static void many_that_are_moved_at_random_fire_at_their_last_time(void **state) {
    (void)state;
    uint64_t seed = 88172645463325252u;
    start_virtual(AMBIT_SECOND);
    atomic_store(&answer, 0);
    for (int i = 0; i < MANY; i++) {
        atomic_store(&ones[i].fired, 0);
        ones[i].deadline_ns = 3600 * AMBIT_SECOND;
        ones[i].timer = arm(ones[i].deadline_ns, note, &ones[i]);
    }
    for (int step = 0; step < 20000; step++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        struct one *one = &ones[seed % MANY];
        int64_t span = (int64_t)(seed >> 20 & ((UINT64_C(1) << (20 + seed % 20)) - 1));
        one->deadline_ns = 2000 * AMBIT_SECOND + span;
        assert_int_equal(ambit_timer_reset(one->timer, one->deadline_ns), 1);
    }
    assert_int_equal(armed(), MANY);
    for (int64_t now = 1999; now <= 3700; now += 10) {
        int due = 0;
        atomic_store(&virtual_ns, now * AMBIT_SECOND);
        for (int i = 0; i < MANY; i++) due += ones[i].deadline_ns <= now * AMBIT_SECOND;
        assert_true(comes_to(&calls, due));
        if (due == MANY) break;
    }
    assert_int_equal(atomic_load(&answer), 0);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(ambit_timer_disarm(ones[i].timer), AMBIT_FIRED);
        assert_int_equal(atomic_load(&ones[i].fired), 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_later_time_is_the_one_that_counts),
        CASE(a_sooner_time_is_kept_as_well),
        CASE(later_and_back_again_is_the_last_one),
        CASE(what_is_not_armed_is_not_moved),
        CASE(from_inside_its_own_function_it_is_too_late),
        CASE(another_thread_may_move_it),
        CASE(many_that_are_moved_at_random_fire_at_their_last_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
