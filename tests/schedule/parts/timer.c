/* src/timer: the wheel, arming and disarming, and the life of the service.
 *
 * Each timer writes plain memory when it fires, and who has disarmed it reads that: fired and disarmed, or
 * a disarm that does not wait for the function, is an assertion or a race. A node lies on the heap and is
 * freed when its disarm returns: whoever touches it afterwards is found. */
#include "timers.h"

AMBIT_SCHEDULE_COVERS("timer/node.c timer/service.c timer/service.h timer/slots.c timer/slots.h "
                      "timer/timer.c")

/* ---- Nodes ----------------------------------------------------------------------------------- */

TIMER_TEST(owner_disarms_or_it_fires, .before = make) {
    alarm *mine = new_alarm();
    arm(mine, AMBIT_MILLISECOND);
    disarm_and_free(mine);
    ambit_timer_stop();
}

static void disarm_it(void *argument) { disarm_and_free(argument); }

TIMER_TEST(another_disarms_or_it_fires, .before = make) {
    alarm *mine = new_alarm();
    arm(mine, AMBIT_MILLISECOND);
    ambit_schedule_join(ambit_schedule_spawn(disarm_it, mine));
    ambit_timer_stop();
}

/* Two disarm: one takes it, or it has fired. */
static unsigned taken;

static void disarm_only(void *argument) {
    alarm *its = argument;
    ambit_disarm found = ambit__timer_node_disarm(&its->node);
    if (found == AMBIT_DISARMED) __atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
    if (found == AMBIT_DISARMED) ambit_schedule_assert(!its->fired);
}

TIMER_TEST(one_of_two_takes_it, .before = make) {
    alarm *mine = new_alarm();
    arm(mine, AMBIT_MILLISECOND);
    ambit_schedule_thread other = ambit_schedule_spawn(disarm_only, mine);
    disarm_only(mine);
    ambit_schedule_join(other);
    ambit_timer_stop();
    ambit_schedule_assert(mine->fired + taken == 1);
    free(mine);
}

/* It is armed while another disarms: that one sees it armed, whole, or idle. */
TIMER_TEST(disarm_beside_arm, .before = make) {
    alarm *mine = new_alarm();
    ambit_schedule_thread other = ambit_schedule_spawn(disarm_only, mine);
    arm(mine, AMBIT_MILLISECOND);
    ambit_schedule_join(other);
    disarm_only(mine);
    ambit_timer_stop();
    ambit_schedule_assert(mine->fired + taken == 1);
    free(mine);
}

/* The same by who does not wait for a function that runs. */
static void disarm_armed(void *argument) {
    alarm *its = argument;
    ambit__timer_node_disarm_armed(&its->node);
}

TIMER_TEST(disarm_of_the_armed_does_not_wait, .before = make) {
    alarm *mine = new_alarm();
    ambit_schedule_thread other = ambit_schedule_spawn(disarm_armed, mine);
    arm(mine, AMBIT_MILLISECOND);
    ambit_schedule_join(other);
    disarm_armed(mine);
    ambit_disarm found = ambit__timer_node_disarm(&mine->node);
    ambit_schedule_assert(found == AMBIT_FIRED && mine->fired <= 1);
    free(mine);
    ambit_timer_stop();
}

/* Armed by one thread, it wanders into the wheel of the next. */
static void arm_anew(void *argument) {
    alarm *its = argument;
    if (ambit__timer_node_disarm(&its->node) == AMBIT_DISARMED) arm(its, 2 * AMBIT_MILLISECOND);
}

TIMER_TEST(disarm_follows_it_to_another_wheel, .before = make) {
    alarm *mine = new_alarm();
    arm(mine, 2 * AMBIT_MILLISECOND);
    ambit_schedule_thread other = ambit_schedule_spawn(arm_anew, mine);
    ambit_disarm found = ambit__timer_node_disarm(&mine->node);
    ambit_schedule_join(other);
    bool again = ambit__timer_node_disarm(&mine->node) == AMBIT_DISARMED;
    ambit_schedule_assert(mine->fired + again + (found == AMBIT_DISARMED) == 1);
    free(mine);
    ambit_timer_stop();
}

/* The same by a third, who has no wheel. */
static void let_wander(ambit_schedule_fn *beside) {
    alarm *mine = new_alarm();
    arm(mine, 2 * AMBIT_MILLISECOND);
    ambit_schedule_thread mover = ambit_schedule_spawn(arm_anew, mine);
    ambit_schedule_thread other = ambit_schedule_spawn(beside, mine);
    ambit_schedule_join(mover);
    ambit_schedule_join(other);
    ambit_disarm found = ambit__timer_node_disarm(&mine->node);
    ambit_schedule_assert(mine->fired <= 1 && (!mine->fired || found == AMBIT_FIRED));
    ambit_schedule_assert(mine->node.state == AMBIT__TIMER_IDLE);
    free(mine);
    ambit_timer_stop();
    check_none_left();
}

TIMER_TEST(third_disarms_what_wanders, .before = make) { let_wander(disarm_only); }
TIMER_TEST(third_disarms_what_is_armed_and_wanders, .before = make) { let_wander(disarm_armed); }

static void reset_first(void *argument) {
    alarm *its = argument;
    (void)ambit__timer_reset(&its->node, 0, start_ns + 3 * AMBIT_MILLISECOND);
}

TIMER_TEST(third_resets_what_wanders, .before = make) { let_wander(reset_first); }

/* What is armed for the first time, in a wheel that was not there. */
static void disarm_beside_first_arm(ambit_schedule_fn *beside, unsigned others) {
    alarm *mine = new_alarm();
    ambit_schedule_thread threads[2];
    for (unsigned i = 0; i < others; i++) threads[i] = ambit_schedule_spawn(beside, mine);
    arm(mine, AMBIT_MILLISECOND);
    for (unsigned i = 0; i < others; i++) ambit_schedule_join(threads[i]);
    disarm_only(mine);
    ambit_schedule_assert(mine->fired + taken == 1);
    free(mine);
    ambit_timer_stop();
    check_none_left();
}

TIMER_TEST(disarm_finds_the_new_wheel, .before = make_records) {
    disarm_beside_first_arm(disarm_only, 1);
}
TIMER_TEST(two_disarms_find_the_new_wheel, .before = make_records) {
    disarm_beside_first_arm(disarm_only, 2);
}
TIMER_TEST(reset_finds_the_new_wheel, .before = make_records) {
    disarm_beside_first_arm(reset_first, 1);
}

/* They find it firing, and the wheel by that: relaxed, as the flag itself says nothing. */
static _Atomic(bool) runs;

static void fire_seen(ambit__timer_node *node) {
    ambit__store_relaxed(&runs, true);
    ambit_schedule_yield();
    fire_alarm(node);
}

static void disarm_when_it_runs(void *argument) {
    while (!ambit__load_relaxed(&runs)) ambit_schedule_yield();
    disarm_only(argument);
}

static void disarm_beside_first_fire(unsigned others) {
    alarm *mine = new_alarm();
    ambit_schedule_thread threads[2];
    for (unsigned i = 0; i < others; i++)
        threads[i] = ambit_schedule_spawn(disarm_when_it_runs, mine);
    ambit_schedule_assert(!ambit__timer_node_arm(&mine->node, start_ns, fire_seen));
    for (unsigned i = 0; i < others; i++) ambit_schedule_join(threads[i]);
    disarm_and_free(mine);
    ambit_schedule_assert(taken == 0);
    ambit_timer_stop();
}

TIMER_TEST(disarm_waits_for_the_function, .before = make_records) { disarm_beside_first_fire(1); }
TIMER_TEST(two_disarms_wait_for_the_function, .before = make_records) {
    disarm_beside_first_fire(2);
}

/* From inside of its function. */
static void fire_and_disarm(ambit__timer_node *node) {
    ambit_schedule_assert(ambit__timer_node_disarm(node) == AMBIT_FIRING_HERE);
    fire_alarm(node);
}

TIMER_TEST(function_may_disarm_itself, .before = make) {
    alarm *mine = new_alarm();
    ambit_schedule_assert(!ambit__timer_node_arm(&mine->node, start_ns, fire_and_disarm));
    disarm_and_free(mine);
    ambit_timer_stop();
}

/* ---- Waking the service ---------------------------------------------------------------------- */

static void arm_and_wait(void *argument) {
    alarm *its = new_alarm();
    arm(its, (int64_t)(intptr_t)argument);
    wait_for(its);
    /* Time passes only while all wait: nobody has slept for too long. */
    ambit_schedule_assert(ambit__clock_now() < its->not_before_ns + AMBIT_SECOND / 2);
    disarm_and_free(its);
}

/* The service sleeps for a later one, or is about to; an earlier one wakes it. */
TIMER_TEST(sooner_one_is_not_overslept, .before = make) {
    alarm *late = new_alarm();
    arm(late, AMBIT_SECOND);
    arm_and_wait((void *)(intptr_t)AMBIT_MILLISECOND);
    ambit_schedule_assert(ambit__timer_node_disarm(&late->node) == AMBIT_DISARMED || late->fired);
    free(late);
    ambit_timer_stop();
}

TIMER_TEST(each_wheel_wakes_it, .before = make) {
    ambit_schedule_thread other =
        ambit_schedule_spawn(arm_and_wait, (void *)(intptr_t)(2 * AMBIT_MILLISECOND));
    arm_and_wait((void *)(intptr_t)AMBIT_MILLISECOND);
    ambit_schedule_join(other);
    ambit_timer_stop();
}

/* A wheel that is made while the service goes through the others. */
TIMER_TEST(new_wheels_are_served, .before = make_records) {
    ambit_schedule_thread other =
        ambit_schedule_spawn(arm_and_wait, (void *)(intptr_t)AMBIT_MILLISECOND);
    arm_and_wait((void *)(intptr_t)AMBIT_MILLISECOND);
    ambit_schedule_join(other);
    ambit_timer_stop();
}

static void read_stats(void *argument) {
    ambit_timer_stats stats;
    (void)argument;
    ambit_timer_stats_read(&stats);
    ambit_schedule_assert(stats.armed <= 1 && stats.fired <= 1);
}

TIMER_TEST(stats_are_read_beside_a_new_wheel, .before = make_records) {
    ambit_schedule_thread reader = ambit_schedule_spawn(read_stats, NULL);
    arm_and_wait((void *)(intptr_t)AMBIT_MILLISECOND);
    ambit_schedule_join(reader);
    ambit_timer_stop();
}

static alarm *second;

static void fire_and_arm(ambit__timer_node *node) {
    arm(second, 2 * AMBIT_MILLISECOND);
    fire_alarm(node);
}

/* From inside of a function, in a wheel of the service's own. */
TIMER_TEST(function_may_arm_another, .before = make) {
    alarm *mine = new_alarm();
    second = new_alarm();
    ambit_schedule_assert(!ambit__timer_node_arm(&mine->node, start_ns, fire_and_arm));
    wait_for(second);
    disarm_and_free(mine);
    disarm_and_free(second);
    second = NULL;
    ambit_timer_stop();
}

/* ---- Public timers --------------------------------------------------------------------------- */

static ambit_timer shared_timer;
static unsigned shared_taken;

static void disarm_shared(void *argument) {
    (void)argument;
    if (ambit_timer_disarm(shared_timer) == AMBIT_DISARMED)
        __atomic_fetch_add(&shared_taken, 1, __ATOMIC_RELAXED);
}

TIMER_TEST(timer_fires_or_is_disarmed_once, .before = make) {
    static bell mine;
    shared_timer = arm_bell(&mine, AMBIT_MILLISECOND);
    ambit_schedule_thread other = ambit_schedule_spawn(disarm_shared, NULL);
    disarm_shared(NULL);
    ambit_schedule_assert(mine.rings <= 1); /* it has returned */
    ambit_schedule_join(other);
    ambit_schedule_assert(mine.rings + shared_taken == 1);
    ambit_timer_stop();
    check_none_left();
}

/* A handle of before names nothing, also when its object is another timer now. */
TIMER_TEST(old_handle_takes_nothing, .before = make) {
    static bell first, next;
    shared_timer = arm_bell(&first, AMBIT_MILLISECOND);
    ambit_schedule_thread other = ambit_schedule_spawn(disarm_shared, NULL);
    disarm_shared(NULL);
    ambit_schedule_assert(first.rings + __atomic_load_n(&shared_taken, __ATOMIC_RELAXED) <= 1);
    ambit_timer timer = arm_bell(&next, 2 * AMBIT_MILLISECOND);
    ambit_schedule_assert(ambit_timer_disarm(shared_timer) == AMBIT_FIRED);
    ambit_schedule_join(other);
    ambit_schedule_assert(first.rings + shared_taken == 1);
    bool here = ambit_timer_disarm(timer) == AMBIT_DISARMED;
    ambit_schedule_assert(next.rings + here == 1);
    ambit_timer_stop();
    check_none_left();
}

/* ---- Another time ---------------------------------------------------------------------------- */

static unsigned resets;

static void reset_shared(void *argument) {
    int64_t after_ns = (int64_t)(intptr_t)argument;
    resets += (unsigned)ambit_timer_reset(shared_timer, start_ns + after_ns);
}

static void ring_at_least(void *argument) {
    bell *rung = argument;
    rung->rung_ns = ambit__clock_now();
    rung->rings++;
}

/* To a later time by its owner or another: then it does not fire before. */
static void check_reset(bool owner, int64_t armed_ns, int64_t reset_ns) {
    static bell mine;
    ambit_schedule_assert(
        !ambit_timer_arm(start_ns + armed_ns, ring_at_least, &mine, &shared_timer));
    if (owner)
        reset_shared((void *)(intptr_t)reset_ns);
    else
        ambit_schedule_join(ambit_schedule_spawn(reset_shared, (void *)(intptr_t)reset_ns));
    bool disarmed = ambit_timer_disarm(shared_timer) == AMBIT_DISARMED;
    ambit_schedule_assert(mine.rings + disarmed == 1);
    if (mine.rings && resets) ambit_schedule_assert(mine.rung_ns >= start_ns + reset_ns);
    if (disarmed) ambit_schedule_assert(resets == 1);
    ambit_timer_stop();
    check_none_left();
}

TIMER_TEST(owner_resets_to_later, .before = make) { check_reset(true, 0, AMBIT_SECOND); }

TIMER_TEST(another_resets_to_later, .before = make) {
    check_reset(false, AMBIT_MILLISECOND, 3 * AMBIT_MILLISECOND);
}

/* Also if it was due, and about to fire. */
static int64_t fired_ns;

static void fire_with_its_time(ambit__timer_node *node) {
    fired_ns = ambit__clock_now();
    fire_alarm(node);
}

TIMER_TEST(what_is_due_is_reset_to_later, .before = make) {
    alarm *mine = new_alarm();
    int64_t later_ns = start_ns + AMBIT_SECOND;
    ambit_schedule_assert(!ambit__timer_node_arm(&mine->node, start_ns, fire_with_its_time));
    bool reset = ambit__timer_reset(&mine->node, 0, later_ns);
    wait_for(mine);
    ambit_schedule_assert(!reset || fired_ns >= later_ns);
    disarm_and_free(mine);
    ambit_timer_stop();
}

/* To a sooner one, by either: then the service is woken for it. */
static void reset_to_sooner(void *argument) {
    alarm *its = argument;
    int64_t sooner_ns = start_ns + 5 * AMBIT_MILLISECOND;
    ambit_schedule_assert(ambit__timer_reset(&its->node, its->node.generation, sooner_ns));
}

static void check_reset_to_sooner(bool owner) {
    alarm *mine = new_alarm();
    arm(mine, 100 * AMBIT_SECOND);
    mine->not_before_ns = start_ns + 5 * AMBIT_MILLISECOND;
    if (owner)
        reset_to_sooner(mine);
    else
        ambit_schedule_join(ambit_schedule_spawn(reset_to_sooner, mine));
    wait_for(mine);
    ambit_schedule_assert(ambit__clock_now() < start_ns + AMBIT_SECOND);
    disarm_and_free(mine);
    ambit_timer_stop();
}

TIMER_TEST(owner_resets_to_sooner, .before = make) { check_reset_to_sooner(true); }
TIMER_TEST(another_resets_to_sooner, .before = make) { check_reset_to_sooner(false); }

/* ---- Stop and start -------------------------------------------------------------------------- */

static void stop(void *argument) {
    (void)argument;
    ambit_timer_stop();
}

/* What is armed before, beside, or after a stop is not lost: it fires once another is armed. */
TIMER_TEST(stop_loses_nothing, .before = make) {
    alarm *mine = new_alarm(), *last = new_alarm();
    ambit_schedule_thread stopper = ambit_schedule_spawn(stop, NULL);
    arm(mine, AMBIT_MILLISECOND);
    ambit_schedule_join(stopper);
    arm(last, AMBIT_MILLISECOND);
    wait_for(mine);
    wait_for(last);
    disarm_and_free(mine);
    disarm_and_free(last);
    ambit_timer_stop();
    check_none_left();
}

TIMER_TEST(two_may_stop, .before = make) {
    alarm *mine = new_alarm();
    arm(mine, AMBIT_MILLISECOND);
    ambit_schedule_thread stopper = ambit_schedule_spawn(stop, NULL);
    ambit_timer_stop();
    /* Nothing fires any more: this is no race with the function. */
    unsigned fired = mine->fired;
    ambit_schedule_join(stopper);
    ambit_schedule_assert(mine->fired == fired);
    disarm_and_free(mine);
    check_none_left();
}

static void fire_and_stop(ambit__timer_node *node) {
    ambit_timer_stop();
    fire_alarm(node);
}

TIMER_TEST(function_may_stop_the_service, .before = make) {
    alarm *mine = new_alarm();
    ambit_schedule_assert(!ambit__timer_node_arm(&mine->node, start_ns, fire_and_stop));
    ambit_schedule_thread stopper = ambit_schedule_spawn(stop, NULL);
    disarm_and_free(mine);
    ambit_schedule_join(stopper);
    ambit_timer_stop();
    check_none_left();
}

/* ---- The program's own clock ----------------------------------------------------------------- */

TIMER_TEST(fires_by_the_own_clock, .before = make_with_own_clock) {
    alarm *mine = new_alarm();
    arm(mine, AMBIT_SECOND);
    ambit_schedule_thread mover = ambit_schedule_spawn(move_own, (void *)(intptr_t)AMBIT_SECOND);
    wait_for(mine);
    ambit_schedule_join(mover);
    disarm_and_free(mine);
    ambit_timer_stop();
}

/* The clock is another one while no timer is armed, which is when it may be, and the service may be
 * looking: what is armed next fires by the new one, and no later. */
static void set_clock_between(int64_t ahead_ns, bool first, bool then) {
    const ambit_clock own = {read_own, NULL};
    alarm *before = new_alarm();
    int64_t system_ns = ambit__clock_now();
    ambit__store_relaxed(&own_ns, system_ns + ahead_ns);
    ambit_clock_set(first ? &own : NULL);
    start_ns = ambit__clock_now();
    arm(before, 0);
    disarm_and_free(before);
    ambit_clock_set(then ? &own : NULL);
    start_ns = ambit__clock_now();
    alarm *mine = new_alarm();
    arm(mine, 5 * AMBIT_MILLISECOND);
    if (then) ambit__store_relaxed(&own_ns, mine->not_before_ns);
    wait_for(mine);
    ambit_schedule_assert(ambit__clock_now() < start_ns + AMBIT_SECOND);
    disarm_and_free(mine);
    ambit_timer_stop();
}

TIMER_TEST(follows_a_clock_that_is_taken_away, .before = make) {
    set_clock_between(1000 * AMBIT_SECOND, true, false);
}
TIMER_TEST(follows_a_clock_that_is_put_in_place, .before = make) {
    set_clock_between(-500 * AMBIT_SECOND, false, true);
}
TIMER_TEST(follows_a_clock_that_is_ahead, .before = make) {
    set_clock_between(1000 * AMBIT_SECOND, false, true);
}

/* Set back while a timer stands in the wheel: its time comes a second time. */
static void fire_at_any_time(ambit__timer_node *node) {
    alarm *fired = (alarm *)(void *)((char *)node - offsetof(alarm, node));
    fired->not_before_ns = INT64_MIN;
    fire_alarm(node);
}

static void set_back_and_move(void *argument) {
    (void)argument;
    ambit__store_relaxed(&own_ns, AMBIT_SECOND);
    ambit_schedule_yield();
    ambit__store_relaxed(&own_ns, 3 * AMBIT_SECOND);
}

TIMER_TEST(follows_a_clock_that_steps_back, .before = make_with_own_clock) {
    alarm *mine = new_alarm();
    ambit_schedule_assert(!ambit__timer_node_arm(&mine->node, 2 * AMBIT_SECOND, fire_at_any_time));
    ambit_schedule_thread mover = ambit_schedule_spawn(set_back_and_move, NULL);
    wait_for(mine);
    ambit_schedule_join(mover);
    disarm_and_free(mine);
    ambit_timer_stop();
}
