/* The timer's thread: its start, its end, forks, faults and figures. */
#include "timers.h"

#include "base/fault.h"
#include "census/slab.h"
#include "fresh.h"

/* ---- The thread's life ----------------------------------------------------------------------- */

static int running(void) {
    ambit_timer_stats stats;
    ambit_timer_stats_read(&stats);
    return stats.thread_running;
}

static void stopped_timers_stay_armed_until_another_is_armed(void **state) {
    (void)state;
    (void)arm(in_ms(30), count, NULL);
    ambit_timer_stop();
    ambit_timer_stop();
    assert_false(running());
    assert_int_equal(armed(), 1);
    nap_ms(60);
    assert_int_equal(atomic_load(&calls), 0);
    (void)arm(in_ms(1), count, NULL);
    assert_true(running());
    assert_true(comes_to(&calls, 2));
}

static void stop_inside(void *argument) {
    (void)argument;
    ambit_timer_stop();
    atomic_fetch_add(&calls, 1);
}
static void stop_from_inside_only_asks(void **state) {
    (void)state;
    (void)arm(in_ms(1), stop_inside, NULL);
    assert_true(comes_to(&calls, 1));
    ambit_timer_stop();
    assert_false(running());
    (void)arm(in_ms(1), count, NULL);
    assert_true(comes_to(&calls, 2));
}

static int timer_threads(void) { /* by their name */
    FILE *listing = popen("cat /proc/$PPID/task/*/comm 2>/dev/null | grep -c '^ambit-timer$'", "r");
    int found = -1;
    assert_int_equal(fscanf(listing, "%d", &found), 1);
    (void)pclose(listing);
    return found;
}
static void stop_and_arm_inside(void *argument) {
    (void)argument;
    ambit_timer_stop();
    (void)arm(in_ms(20), count, NULL);
    atomic_fetch_add(&calls, 1);
}
static void there_is_one_thread_after_a_stop_and_an_arm_inside(void **state) {
    (void)state;
    (void)arm(in_ms(1), stop_and_arm_inside, NULL);
    assert_true(comes_to(&calls, 2));
    nap_ms(30);
    assert_int_equal(timer_threads(), 1);
    ambit_timer_stop();
    assert_int_equal(timer_threads(), 0);
}

static void rearm_slowly(void *argument) {
    atomic_store(&entered, 1);
    nap_ms(50); /* a stop comes meanwhile */
    own = arm(in_ms(60000), count, argument);
    atomic_fetch_add(&calls, 1);
}
/* In a process of its own, which an alarm ends if it hangs. */
static void stop_returns_while_a_function_arms(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        ambit_timer timer;
        alarm(5);
        atomic_store(&entered, 0);
        if (ambit_timer_arm(in_ms(1), rearm_slowly, NULL, &timer)) _exit(2);
        if (!comes_to(&entered, 1)) _exit(3);
        ambit_timer_stop();
        _exit(atomic_load(&calls) == 1 ? 0 : 4);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFSIGNALED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void child_of_a_fork_starts_afresh(void **state) {
    (void)state;
    ambit_timer timer = arm(in_ms(60000), count, NULL);
    pid_t child = fork();
    if (child == 0) {
        ambit_timer mine;
        alarm(10);
        if (armed() != 0 || running()) _exit(1);
        if (ambit_timer_disarm(timer) != AMBIT_FIRED || armed() != 0) _exit(2);
        if (ambit_timer_arm(in_ms(1), count, NULL, &mine)) _exit(3);
        _exit(comes_to(&calls, 1) ? 0 : 4);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(ambit_timer_disarm(timer), AMBIT_DISARMED);
}

#ifdef AMBIT_TESTING
static void missing_thread_is_an_answer(void **state) {
    (void)state;
    ambit_timer timer;
    ambit_timer_stop();
    ambit__fault_arm(AMBIT__FAULT_THREAD, 0, false);
    assert_int_equal(ambit_timer_arm(in_ms(1), count, NULL, &timer), AMBIT_ETHREAD);
    ambit__fault_disarm(AMBIT__FAULT_THREAD);
    assert_null(timer.entry);
    assert_int_equal(armed(), 0);
    (void)arm(in_ms(1), count, NULL);
    assert_true(comes_to(&calls, 1));
}

static void count_entry(ambit__slab *slab, ambit__entry *entry, void *argument) {
    (void)slab;
    (void)entry;
    ++*(int *)argument;
}
static int listed_in_census(void) {
    int listed = 0;
    ambit__slab_walk(&ambit__slab_timer, count_entry, &listed);
    return listed;
}

/* In a fresh process: the record, the slab and the wheel are all to be made. Exits with how many
 * allocations an arm makes, or if the one after `after` is made to fail, with 0 for the right answer. */
static int arm_without_memory(long after) {
    ambit_timer timer = {(void *)1, 1};
    ambit__fault_arm(AMBIT__FAULT_MEMORY, after < 0 ? UINT64_MAX : (uint64_t)after, false);
    ambit_status status = ambit_timer_arm(in_ms(60000), count, NULL, &timer);
    int allocations = (int)ambit__fault_disarm(AMBIT__FAULT_MEMORY);
    if (after < 0) return status ? 100 : allocations;
    if (status != AMBIT_EMEMORY) return 101;
    if (timer.entry || armed() != 0 || listed_in_census() != 0) return 102;
    if (ambit_timer_arm(in_ms(1), count, NULL, &timer)) return 103;
    if (!comes_to(&calls, 1) || armed() != 0) return 104;
    ambit_timer_stop();
    return 0;
}
static void missing_memory_is_an_answer_wherever_it_is_missing(void **state) {
    (void)state;
    int allocations = fresh_run("arm_without_memory", -1).code;
    assert_in_range(allocations, 3, 20); /* a record, a slab's chunk, a wheel */
    for (int after = 0; after < allocations; after++) assert_fresh("arm_without_memory", after, 0);
}
#endif

static void stats_tell_what_fired_and_how_late(void **state) {
    (void)state;
    ambit_timer_stats before, after;
    ambit_timer_stats_read(&before);
    for (int i = 0; i < 10; i++) (void)arm(in_ms(i), count, NULL);
    assert_true(comes_to(&calls, 10));
    ambit_timer_stats_read(&after);
    assert_int_equal(after.fired - before.fired, 10);
    assert_int_equal(after.armed, 0);
    assert_true(after.lateness_sum_ns > before.lateness_sum_ns);
    assert_true(after.lateness_max_ns >= before.lateness_max_ns && after.lateness_max_ns > 0);
}

static void armed_timer_is_in_the_census_and_no_other(void **state) {
    (void)state;
    ambit_census *with, *without;
    ambit_timer timer = arm(in_ms(60000), count, NULL);
    assert_ok(ambit_census_take(&with));
    assert_int_equal(ambit_timer_disarm(timer), AMBIT_DISARMED);
    (void)arm(in_ms(1), count, NULL);
    assert_true(comes_to(&calls, 1));
    ambit_timer_stop(); /* it has been given back */
    assert_ok(ambit_census_take(&without));
    assert_int_equal(ambit_census_count(with, AMBIT_KIND_TIMER), 1);
    assert_int_equal(ambit_census_count(without, AMBIT_KIND_TIMER), 0);
    ambit_census_free(with);
    ambit_census_free(without);
}

static void count_verdict(const ambit_verdict *verdict, void *found) {
    if (verdict->object == AMBIT_KIND_TIMER) ((int *)found)[verdict->kind]++;
}
/* It waits because it was told to, and that it is behind its time is not its owner's doing. */
static void timer_is_neither_old_nor_overdue(void **state) {
    (void)state;
    int found[AMBIT_VERDICT_KINDS] = {0};
    int64_t old = ambit_verdict_limit(AMBIT_VERDICT_OLD),
            overdue = ambit_verdict_limit(AMBIT_VERDICT_OVERDUE);
    ambit_timer timer = arm(in_ms(60000), count, NULL), late = arm(in_ms(1), count, NULL);
    ambit_timer_stop();
    nap_ms(50); /* more than the coarse clock lags */
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, 0);
    ambit_verdict_limit_set(AMBIT_VERDICT_OVERDUE, 0);
    (void)ambit_verdict_check(count_verdict, found);
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, old);
    ambit_verdict_limit_set(AMBIT_VERDICT_OVERDUE, overdue);
    (void)ambit_timer_disarm(timer);
    (void)ambit_timer_disarm(late);
    assert_int_equal(found[AMBIT_VERDICT_OLD], 0);
    assert_int_equal(found[AMBIT_VERDICT_OVERDUE], 0);
}

int main(int count_of_arguments, char **arguments) {
    const struct CMUnitTest tests[] = {
        CASE(stats_tell_what_fired_and_how_late),
        CASE(armed_timer_is_in_the_census_and_no_other),
        CASE(timer_is_neither_old_nor_overdue),
        CASE(stopped_timers_stay_armed_until_another_is_armed),
        CASE(stop_from_inside_only_asks),
        CASE(there_is_one_thread_after_a_stop_and_an_arm_inside),
        CASE(stop_returns_while_a_function_arms),
        CASE(child_of_a_fork_starts_afresh),
#ifdef AMBIT_TESTING
        CASE(missing_thread_is_an_answer),
        CASE(missing_memory_is_an_answer_wherever_it_is_missing),
#endif
    };
    static const fresh_part parts[] = {
#ifdef AMBIT_TESTING
        {"arm_without_memory", arm_without_memory},
#endif
        {NULL, NULL}};
    fresh_enter(count_of_arguments, arguments, parts);
    if (count_of_arguments > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
