/* src/timer/timer.c: timers by their handles. A handle of before names nothing, whoever has the
 * object now; and of those that stand together each goes on without the others. */
#include "timers.h"

AMBIT_SCHEDULE_COVERS("timer/timer.c")

static void await(const _Atomic(bool) *what) {
    while (!ambit__load_acquire(what)) ambit_schedule_yield();
}

/* ---- Handles of before ----------------------------------------------------------------------- */

/* The first has fired, and the service's thread has its object, for what the next one arms. */
static _Atomic(bool) first_rang, next_armed;
static ambit_timer first, next;
static bell last_bell;

static void ring_first(void *argument) {
    (void)argument;
    ambit__store_release(&first_rang, true);
}
static void arm_last(void *argument) {
    last_bell.not_before_ns = start_ns + AMBIT_SECOND;
    ambit_schedule_assert(!ambit_timer_arm(last_bell.not_before_ns, ring, &last_bell, argument));
    ambit__store_release(&next_armed, true);
}
static void arm_in_its_place(ambit_timer *last) {
    ambit_timer second;
    ambit_schedule_assert(!ambit_timer_arm(start_ns, ring_first, NULL, &first));
    await(&first_rang);
    ambit_schedule_assert(!ambit_timer_arm(start_ns, arm_last, last, &second));
    await(&next_armed);
}
/* By its own handle: what stands there was neither taken nor moved. */
static void check_it_stands(ambit_timer last) {
    ambit_schedule_assert(ambit_timer_disarm(last) == AMBIT_DISARMED && !last_bell.rings);
    ambit_timer_stop();
    check_none_left();
}

static void disarm_first(void *argument) {
    (void)argument;
    ambit_schedule_assert(ambit_timer_disarm(first) == AMBIT_FIRED);
}
TIMER_TEST(handle_of_what_has_fired_takes_nothing, .before = make) {
    arm_in_its_place(&next);
    ambit_schedule_thread other = ambit_schedule_spawn(disarm_first, NULL);
    disarm_first(NULL);
    /* Nor was it given back: another timer has another object. */
    static bell more;
    ambit_timer another = arm_bell(&more, AMBIT_SECOND);
    ambit_schedule_assert(another.entry != next.entry);
    ambit_schedule_assert(ambit_timer_disarm(another) == AMBIT_DISARMED);
    ambit_schedule_join(other);
    check_it_stands(next);
}

static void reset_first(void *argument) {
    (void)argument;
    ambit_schedule_assert(!ambit_timer_reset(first, start_ns));
}
TIMER_TEST(handle_of_what_has_fired_moves_nothing, .before = make) {
    arm_in_its_place(&next);
    ambit_schedule_thread other = ambit_schedule_spawn(reset_first, NULL);
    reset_first(NULL);
    ambit_schedule_join(other);
    check_it_stands(next);
}

/* The same for what was disarmed, by its owner. */
TIMER_TEST(handle_of_what_was_disarmed_moves_nothing, .before = make) {
    first = arm_bell(&last_bell, AMBIT_SECOND);
    ambit_schedule_assert(ambit_timer_disarm(first) == AMBIT_DISARMED);
    next = arm_bell(&last_bell, AMBIT_SECOND);
    ambit_schedule_thread other = ambit_schedule_spawn(reset_first, NULL);
    reset_first(NULL);
    disarm_first(NULL);
    ambit_schedule_join(other);
    check_it_stands(next);
}

/* ---- Together -------------------------------------------------------------------------------- */

static ambit_timer neighbours[3];
static bell bells[3];

static void disarm_a_neighbour(void *argument) {
    unsigned which = (unsigned)(uintptr_t)argument;
    bool disarmed = ambit_timer_disarm(neighbours[which]) == AMBIT_DISARMED;
    ambit_schedule_assert(bells[which].rings + disarmed == 1);
}
static void wait_for_the_last(unsigned which) {
    alarm *after = new_alarm(); /* fires after it, so that its ring can be waited for */
    arm(after, bells[which].not_before_ns - start_ns + 5 * AMBIT_MILLISECOND);
    wait_for(after);
    ambit_schedule_assert(bells[which].rings == 1);
    ambit_schedule_assert(ambit__clock_now() < start_ns + AMBIT_SECOND);
    disarm_and_free(after);
    ambit_timer_stop();
    check_none_left();
}

/* Three in one slot; two are taken out, by their owner and another. */
TIMER_TEST(one_of_three_is_left, .before = make) {
    for (unsigned i = 0; i < 3; i++) neighbours[i] = arm_bell(&bells[i], 10 * AMBIT_MILLISECOND);
    ambit_schedule_thread other = ambit_schedule_spawn(disarm_a_neighbour, NULL);
    disarm_a_neighbour((void *)2);
    ambit_schedule_join(other);
    wait_for_the_last(1);
}

/* One that stands far away comes nearer with the others, and does not fire with them. */
TIMER_TEST(one_of_three_is_later, .before = make) {
    neighbours[0] = arm_bell(&bells[0], 10 * AMBIT_MILLISECOND);
    neighbours[1] = arm_bell(&bells[1], 100 * AMBIT_MILLISECOND);
    neighbours[2] = arm_bell(&bells[2], 101 * AMBIT_MILLISECOND);
    ambit_schedule_thread other = ambit_schedule_spawn(disarm_a_neighbour, (void *)2);
    ambit_schedule_join(other);
    wait_for_the_last(1);
    ambit_schedule_assert(bells[0].rings == 1);
}
