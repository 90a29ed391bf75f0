/* Timers: at a time or later, once, and taken back from anywhere. */
#include "timers.h"

#define MANY 100000

/* A clock that stands still until it is told. */
static _Atomic(int64_t) virtual_ns;
static int64_t read_virtual(void *user) {
    (void)user;
    return atomic_load(&virtual_ns);
}
static void set_virtual(int64_t now_ns) {
    static const ambit_clock clock = {read_virtual, NULL};
    atomic_store(&virtual_ns, now_ns);
    ambit_clock_set(&clock);
}

static void on_thread(void *(*run)(void *), void *argument) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, argument), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* ---- Firing ---------------------------------------------------------------------------------- */

static void timer_fires_once_and_not_early(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        int64_t deadline_ns = ambit_clock_now_ns() + i * 700000 + 1;
        atomic_store(&calls, 0);
        ambit_timer timer = arm(deadline_ns, count, NULL);
        assert_true(comes_to(&calls, 1));
        assert_true(atomic_load(&called_at_ns) >= deadline_ns);
        assert_int_equal(ambit_timer_disarm(timer), AMBIT_FIRED);
    }
}

static void timer_of_the_past_fires_at_once(void **state) {
    (void)state;
    (void)arm(ambit_clock_now_ns() - AMBIT_SECOND, count, NULL);
    (void)arm(0, count, NULL);
    (void)arm(-5, count, NULL);
    assert_true(comes_to(&calls, 3));
}

static int order[64];
static void note_order(void *argument) {
    order[atomic_load(&calls)] = (int)(intptr_t)argument;
    atomic_fetch_add(&calls, 1);
}
/* True if all were armed before the first of them was due: only then there is an order to keep. */
static bool arm_backwards(int64_t start_ns) {
    atomic_store(&calls, 0);
    for (int i = 63; i >= 0; i--)
        (void)arm(start_ns + i * 3 * AMBIT_MILLISECOND, note_order, (void *)(intptr_t)i);
    return ambit_clock_now_ns() < start_ns;
}
static void timers_of_one_thread_fire_in_order(void **state) {
    (void)state;
    for (int64_t ahead_ms = 5; !arm_backwards(in_ms(ahead_ms)); ahead_ms *= 2)
        assert_true(comes_to(&calls, 64));
    assert_true(comes_to(&calls, 64));
    for (int i = 0; i < 64; i++) assert_int_equal(order[i], i);
}

static void an_earlier_timer_wakes_the_thread_sooner(void **state) {
    (void)state;
    ambit_timer far = arm(in_ms(3600 * 1000), count, NULL);
    nap_ms(20); /* it sleeps for that one */
    (void)arm(in_ms(10), count, NULL);
    assert_true(comes_to(&calls, 1));
    assert_int_equal(ambit_timer_disarm(far), AMBIT_DISARMED);
}

struct armed {
    int64_t ahead_ms;
    ambit_timer timer;
};
static void *arm_and_end(void *argument) {
    struct armed *armed = argument;
    armed->timer = arm(in_ms(armed->ahead_ms), count, NULL);
    return NULL;
}
static void timer_fires_after_its_thread_has_ended(void **state) {
    (void)state;
    struct armed armed = {.ahead_ms = 30};
    /* Until the thread has ended first. */
    for (on_thread(arm_and_end, &armed); atomic_load(&calls); on_thread(arm_and_end, &armed)) {
        atomic_store(&calls, 0);
        armed.ahead_ms *= 2;
    }
    assert_true(comes_to(&calls, 1));
    assert_int_equal(ambit_timer_disarm(armed.timer), AMBIT_FIRED);
}

/* ---- Disarming ------------------------------------------------------------------------------- */

static void disarmed_timer_never_fires(void **state) {
    (void)state;
    ambit_timer timer = arm(in_ms(20), count, NULL);
    assert_int_equal(ambit_timer_disarm(timer), AMBIT_DISARMED);
    assert_int_equal(ambit_timer_disarm(timer), AMBIT_FIRED);
    assert_int_equal(ambit_timer_disarm((ambit_timer){0}), AMBIT_FIRED);
    nap_ms(50);
    assert_int_equal(atomic_load(&calls), 0);
}

static void stale_handle_leaves_the_next_timer_alone(void **state) {
    (void)state;
    ambit_timer old = arm(in_ms(60000), count, NULL);
    assert_int_equal(ambit_timer_disarm(old), AMBIT_DISARMED);
    ambit_timer young = arm(in_ms(60000), count, NULL);
    assert_ptr_equal(young.entry, old.entry); /* else this test shows nothing */
    assert_int_equal(ambit_timer_disarm(old), AMBIT_FIRED);
    assert_int_equal(armed(), 1);
    assert_int_equal(ambit_timer_disarm(young), AMBIT_DISARMED);
}

static void *disarm_it(void *argument) {
    return (void *)(intptr_t)ambit_timer_disarm(*(ambit_timer *)argument);
}
static void any_thread_disarms(void **state) {
    (void)state;
    ambit_timer timer = arm(in_ms(60000), count, NULL);
    pthread_t thread;
    void *found;
    assert_int_equal(pthread_create(&thread, NULL, disarm_it, &timer), 0);
    assert_int_equal(pthread_join(thread, &found), 0);
    assert_int_equal((int)(intptr_t)found, AMBIT_DISARMED);
    assert_int_equal(armed(), 0);
}

static _Atomic(int) left;
static void linger(void *argument) {
    (void)argument;
    atomic_store(&entered, 1);
    nap_ms(80);
    atomic_store(&left, 1);
}
static void disarm_waits_for_a_function_that_runs(void **state) {
    (void)state;
    atomic_store(&entered, 0);
    atomic_store(&left, 0);
    ambit_timer timer = arm(in_ms(1), linger, NULL);
    assert_true(comes_to(&entered, 1));
    assert_int_equal(atomic_load(&left), 0); /* it was caught inside */
    assert_int_equal(ambit_timer_disarm(timer), AMBIT_FIRED);
    assert_int_equal(atomic_load(&left), 1);
}

static _Atomic(int) own_known, found_inside;
static void disarm_own(void *argument) {
    (void)argument;
    (void)comes_to(&own_known, 1);
    atomic_store(&found_inside, (int)ambit_timer_disarm(own));
    atomic_fetch_add(&calls, 1);
}
static void disarm_from_inside_says_so(void **state) {
    (void)state;
    atomic_store(&own_known, 0);
    atomic_store(&found_inside, -1);
    own = arm(in_ms(1), disarm_own, NULL);
    atomic_store(&own_known, 1);
    assert_true(comes_to(&calls, 1));
    assert_int_equal(atomic_load(&found_inside), AMBIT_FIRING_HERE);
    assert_int_equal(ambit_timer_disarm(own), AMBIT_FIRED);
}

/* ---- Many, and far --------------------------------------------------------------------------- */

static ambit_timer *many;
static void hundred_thousand_are_armed_and_disarmed(void **state) {
    (void)state;
    many = calloc(MANY, sizeof *many);
    uint32_t seed = 2463534242u;
    for (int i = 0; i < MANY; i++) {
        seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
        many[i] = arm(in_ms(60000 + seed % 1000000), count, NULL);
    }
    assert_int_equal(armed(), MANY);
    for (int i = 0; i < MANY; i++) {
        int at = (int)((i * UINT64_C(7919)) % MANY);
        assert_int_equal(ambit_timer_disarm(many[at]), AMBIT_DISARMED);
    }
    free(many);
    assert_int_equal(armed(), 0);
    assert_int_equal(atomic_load(&calls), 0);
}

static void every_one_of_many_fires_or_is_disarmed(void **state) {
    (void)state;
    enum { SOME = 20000 };
    int disarmed = 0;
    ambit_timer *timers = calloc(SOME, sizeof *timers);
    for (int i = 0; i < SOME; i++) timers[i] = arm(in_ms(20 + i % 20), count, NULL);
    for (int i = 0; i < SOME; i++) {
        int at = (int)((i * UINT64_C(7919)) % SOME);
        if (i % 500 == 0) nap_ms(1);
        disarmed += ambit_timer_disarm(timers[at]) == AMBIT_DISARMED;
    }
    free(timers);
    assert_int_equal(atomic_load(&calls) + disarmed, SOME);
    assert_int_not_equal(disarmed, 0); /* else they did not meet */
    assert_int_not_equal(disarmed, SOME);
}

static void two_hundred_years_can_be_waited_for(void **state) {
    (void)state;
    const int64_t year_ns = INT64_C(365) * 24 * 3600 * AMBIT_SECOND;
    ambit_timer far[4] = {arm(year_ns, count, NULL), arm(200 * year_ns, count, NULL),
                          arm(AMBIT_NEVER - 1, count, NULL), arm(AMBIT_NEVER, count, NULL)};
    nap_ms(20);
    for (int i = 0; i < 4; i++) assert_int_equal(ambit_timer_disarm(far[i]), AMBIT_DISARMED);
    assert_int_equal(atomic_load(&calls), 0);
}

/* ---- Clocks that jump ------------------------------------------------------------------------ */

static void clock_that_jumps_forward_fires_all_due(void **state) {
    (void)state;
    const int64_t year_ns = INT64_C(365) * 24 * 3600 * AMBIT_SECOND;
    ambit_timer_stop();
    set_virtual(ambit_clock_now_ns());
    int64_t start_ns = atomic_load(&virtual_ns);
    (void)arm(start_ns + 1, count, NULL);
    (void)arm(start_ns + AMBIT_SECOND, count, NULL);
    (void)arm(start_ns + 100 * year_ns, count, NULL);
    ambit_timer later = arm(start_ns + 201 * year_ns, count, NULL);
    nap_ms(20);
    assert_int_equal(atomic_load(&calls), 0); /* not even one nanosecond early */
    atomic_store(&virtual_ns, start_ns + 200 * year_ns);
    assert_true(comes_to(&calls, 3));
    nap_ms(10);
    assert_int_equal(ambit_timer_disarm(later), AMBIT_DISARMED);
}

static void clock_that_steps_back_fires_nothing(void **state) {
    (void)state;
    ambit_timer_stop();
    set_virtual(1000 * AMBIT_SECOND);
    ambit_timer timer = arm(1001 * AMBIT_SECOND, count, NULL);
    nap_ms(10);
    atomic_store(&virtual_ns, 10 * AMBIT_SECOND);
    nap_ms(20);
    assert_int_equal(atomic_load(&calls), 0);
    assert_int_equal(ambit_timer_disarm(timer), AMBIT_DISARMED);
}

/* The wheel of this thread has seen the system's clock, which reads hours; the new one starts low. */
static void timer_fires_by_a_clock_that_starts_lower(void **state) {
    (void)state;
    (void)arm(in_ms(1), count, NULL);
    assert_true(comes_to(&calls, 1));
    set_virtual(AMBIT_SECOND);
    ambit_timer timer = arm(2 * AMBIT_SECOND, count, NULL);
    nap_ms(10);
    assert_int_equal(atomic_load(&calls), 1);
    atomic_store(&virtual_ns, 3 * AMBIT_SECOND);
    bool fired = comes_to(&calls, 2);
    (void)ambit_timer_disarm(timer);
    assert_true(fired);
}

/* The thread sleeps by the system's clock for a timer that was taken back. */
static void timer_fires_by_a_clock_put_in_place_during_a_sleep(void **state) {
    (void)state;
    ambit_timer far = arm(in_ms(3600 * 1000), count, NULL);
    nap_ms(20);
    assert_int_equal(ambit_timer_disarm(far), AMBIT_DISARMED);
    int64_t start_ns = in_ms(7200 * 1000);
    set_virtual(start_ns);
    ambit_timer timer = arm(start_ns + AMBIT_SECOND, count, NULL);
    atomic_store(&virtual_ns, start_ns + 2 * AMBIT_SECOND);
    bool fired = comes_to(&calls, 1);
    (void)ambit_timer_disarm(timer);
    assert_true(fired);
}

int main(int count_of_arguments, char **arguments) {
    const struct CMUnitTest tests[] = {
        CASE(timer_fires_once_and_not_early),
        CASE(timer_of_the_past_fires_at_once),
        CASE(timers_of_one_thread_fire_in_order),
        CASE(an_earlier_timer_wakes_the_thread_sooner),
        CASE(timer_fires_after_its_thread_has_ended),
        CASE(disarmed_timer_never_fires),
        CASE(stale_handle_leaves_the_next_timer_alone),
        CASE(any_thread_disarms),
        CASE(disarm_waits_for_a_function_that_runs),
        CASE(disarm_from_inside_says_so),
        CASE(hundred_thousand_are_armed_and_disarmed),
        CASE(every_one_of_many_fires_or_is_disarmed),
        CASE(two_hundred_years_can_be_waited_for),
        CASE(clock_that_jumps_forward_fires_all_due),
        CASE(clock_that_steps_back_fires_nothing),
        CASE(timer_fires_by_a_clock_that_starts_lower),
        CASE(timer_fires_by_a_clock_put_in_place_during_a_sleep),
    };
    if (count_of_arguments > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
